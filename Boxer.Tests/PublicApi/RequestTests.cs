using Boxer.Networking;

namespace Boxer.PublicApi.Tests;

/// <summary>Requests, files and inputs as a custom runner reads them.</summary>
public sealed class RequestTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Contents_of_files_and_inputs_can_be_read()
    {
        string hostPath = Path.Join(Directory.CreateTempSubdirectory("boxer-public-").FullName, "file");
        await File.WriteAllTextAsync(hostPath, "host", Cancel);

        Assert.Equal("text", await ReadAsync(await SandboxFile.FromText("a", "text").OpenReadAsync(Cancel)));
        Assert.Equal("bytes", await ReadAsync(await SandboxFile.FromBytes("a", "bytes"u8.ToArray()).OpenReadAsync(Cancel)));
        Assert.Equal("host", await ReadAsync(await SandboxFile.FromHostFile("a", hostPath).OpenReadAsync(Cancel)));
        Assert.Equal("stream", await ReadAsync(await SandboxFile.FromStream("a", _ => new(new MemoryStream("stream"u8.ToArray()))).OpenReadAsync(Cancel)));
        Assert.Equal("tar", await ReadAsync(await SandboxInput.FromTar("tar"u8.ToArray()).OpenReadAsync(Cancel)));
        Assert.Equal("host", await ReadAsync(await SandboxInput.FromTarFile(hostPath).OpenReadAsync(Cancel)));

        SandboxInput files = SandboxInput.FromFiles(SandboxFile.FromText("b", "x"));
        Assert.False(files.IsArchive);
        Assert.Equal("b", Assert.Single(files.Files).Path);
        Assert.Throws<InvalidOperationException>(() => files.OpenReadAsync(Cancel).AsTask().GetAwaiter().GetResult());
        Directory.Delete(Path.GetDirectoryName(hostPath)!, recursive: true);
    }

    [Fact]
    public void A_policy_of_output_files_can_be_read()
    {
        Assert.True(OutputFilePolicy.InMemory is { Collects: true, Directory: null, MaxBytes: null, MaxFiles: null });
        Assert.True(OutputFilePolicy.InMemoryUpTo(5, 6) is { Collects: true, MaxBytes: 5, MaxFiles: 6 });
        Assert.True(OutputFilePolicy.ToDirectory("/x") is { Collects: true, Directory: "/x" });
        Assert.False(OutputFilePolicy.Discard.Collects);
    }

    [Fact]
    public void A_copy_does_not_change_with_the_original()
    {
        SandboxRequest request = Whole();
        SandboxRequest copy = new(request);

        Assert.All(
            typeof(SandboxRequest).GetProperties().Where(property => property.PropertyType.IsValueType || property.PropertyType == typeof(string) || property.Name is "StandardInputStream" or "OutputFiles" or "Command" or "Environment" or "Files"),
            property => Assert.Equal(property.GetValue(request), property.GetValue(copy)));
        Assert.NotSame(request.Limits, copy.Limits);
        Assert.NotSame(request.Egress, copy.Egress);
        Assert.NotSame(request.Workspace, copy.Workspace);
        Assert.Equal(request.Limits.Pids, copy.Limits.Pids);
        Assert.Equal(request.Workspace!.Inputs, copy.Workspace!.Inputs);
        Assert.Equal((request.Workspace.Path, request.Workspace.MaxBytes), (copy.Workspace.Path, copy.Workspace.MaxBytes));

        request.Command.Add("more");
        request.Environment["C"] = "d";
        request.Files.Clear();
        request.Workspace.Inputs.Clear();
        request.Limits.Pids = 1;
        Assert.Equal((1, 1, 1, 1, 7), (copy.Command.Count, copy.Environment.Count, copy.Files.Count, copy.Workspace.Inputs.Count, copy.Limits.Pids));
    }

    [Fact]
    public void A_copy_can_have_another_image()
    {
        SandboxRequest copy = new(Whole()) { Image = "mirror/python:3" };

        Assert.Equal("mirror/python:3", copy.Image);
    }

    [Fact]
    public void ToString_has_names_and_no_values_or_contents()
    {
        SandboxRequest request = Whole();

        string text = request.ToString();

        Assert.Equal("python:3: true (network sandbox, 1 variables, 1 files, workspace /w with 1 inputs)", text);
        Assert.Equal("f (executable)", request.Files[0].ToString());
        Assert.Equal("1 files", request.Workspace!.Inputs[0].ToString());
        Assert.Equal("Pids 7", request.Limits.ToString());
        Assert.Equal("CpuCores 0.5, WallClock 00:00:30", new ResourceLimits { CpuCores = 0.5, WallClock = TimeSpan.FromSeconds(30) }.ToString());
        Assert.Equal("defaults", new ResourceLimits().ToString());
        Assert.Equal("tar archive", SandboxInput.FromTar(default(ReadOnlyMemory<byte>)).ToString());
        Assert.Equal(["in memory", "in memory, up to 5 bytes and 6 files", "dropped", "/x"], new[] { OutputFilePolicy.InMemory, OutputFilePolicy.InMemoryUpTo(5, 6), OutputFilePolicy.Discard, OutputFilePolicy.ToDirectory("/x") }.Select(policy => policy.ToString()));
        request.Command.Add(new string('x', 100_000));
        Assert.InRange(request.ToString().Length, 200, 600);
    }

    private static SandboxRequest Whole() => new("python:3", "true")
    {
        UseImageCommand = true,
        PullPolicy = Images.PullPolicy.Never,
        Environment = { ["TOKEN"] = "secret" },
        WorkingDirectory = "/d",
        User = "1",
        Network = "sandbox",
        Egress = new EgressPolicy { Allow = ["pypi.org"] },
        Limits = new ResourceLimits { Pids = 7 },
        FairnessKey = "k",
        Files = [Executable(SandboxFile.FromText("f", "secret"))],
        Workspace = new SandboxWorkspace { Path = "/w", Inputs = [SandboxInput.FromFiles(SandboxFile.FromText("g", "secret"))], MaxBytes = 9 },
        StandardInput = "secret"u8.ToArray(),
        StandardInputStream = Stream.Null,
        MergeStandardError = true,
        KeepStandardOutput = false,
        StopGrace = TimeSpan.FromSeconds(1),
        OutputFiles = OutputFilePolicy.Discard,
    };

    private static SandboxFile Executable(SandboxFile file)
    {
        file.Executable = true;
        return file;
    }

    private static async Task<string> ReadAsync(Stream content)
    {
        using StreamReader reader = new(content);
        return await reader.ReadToEndAsync(Cancel);
    }
}
