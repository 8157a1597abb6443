using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Escape;

/// <summary>
/// The result of each attempt of <c>escape.py</c> from inside, as user 65534 and as user 0, is listed in <c>expected.txt</c>. The canaries that
/// <c>canary.py</c> put on this host, in a neighbouring sandbox and in the warm-up are neither found nor touched.
/// </summary>
[Collection(Sandboxes.Name)]
public sealed class EscapeTests(EscapeImage image) : IClassFixture<EscapeImage>, IDisposable
{
    private static readonly string Folder = Path.Join(AppContext.BaseDirectory, "Linux/Escape");
    private static readonly string[] Settings =
        ["/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/net/ipv4/tcp_sack", "/etc/hosts", "/etc/resolv.conf", "/etc/passwd"];

    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-escape-").FullName;
    private readonly string _tag = $"{RandomNumberGenerator.GetInt32(0x1000000, int.MaxValue):x}";
    private readonly string _backwards = RandomNumberGenerator.GetHexString(32, lowercase: true);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <param name="network">The network mode.</param>
    /// <param name="pooled">Whether the sandbox was booted ahead.</param>
    /// <param name="session">Whether the attempts are a command of a session, beside other commands of it; otherwise a run.</param>
    [Theory]
    [InlineData("none", false, false)]
    [InlineData("none", true, false)]
    [InlineData("sandbox", false, false)]
    [InlineData("sandbox", true, false)]
    [InlineData("host", false, false)]
    [InlineData("none", false, true)]
    [InlineData("host", false, true)]
    [InlineData("sandbox", true, true)]
    public async Task Nothing_outside_a_sandbox_is_reached(string network, bool pooled, bool session)
    {
        BoxerOptions options = image.Options();
        Assert.SkipWhen(network == "sandbox" && !(HostProgram.Exists("nft") && HostProgram.Exists("ip")), "Needs ip and nft in PATH.");
        string program = await File.ReadAllTextAsync(Path.Join(Folder, "canary.py"), Cancel);
        options.Pool.Enabled = pooled;
        options.Pool.Images = [new() { Image = EscapeImage.Name, Count = 0, WarmUp = [
            "sh", "-c", "touch /var/tmp/warmed; exec \"$@\"", "sh", "python3", "-c", program, "--leave", _tag, _backwards, "/tmp/boxer-canary", "/dev/shm/boxer-canary",
        ] }];
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await runner.RunAsync(new SandboxRequest(EscapeImage.Name, "true"), Cancel);
        string[] paths = [Path.Join(_directory, "boxer-canary"), Path.Join(options.Home, "boxer-canary"), "/run/boxer/boxer-canary-" + _tag];
        string[] settings = [.. Settings.Where(File.Exists).Select(File.ReadAllText)];
        string images = await image.FilesAsync(runner);

        using Process host = HostProgram.Start("/usr/bin/python3", [Path.Join(Folder, "canary.py"), _tag, _backwards, .. paths]);
        try
        {
            int port = int.Parse((await host.StandardOutput.ReadLineAsync(Cancel))!, System.Globalization.CultureInfo.InvariantCulture);
            await using OpenRun neighbour = await OpenRun.StartAsync(runner, Neighbour(network, program));
            var facts = new JsonObject { ["tag"] = _tag, ["backwards"] = _backwards, ["paths"] = new JsonArray([.. paths]), ["port"] = port };
            foreach (string user in (string[])["0", "65534"])
            {
                SandboxResult result = session
                    ? await EscapeSession.AttackAsync(runner, network, pooled, user, facts)
                    : await AttackAsync(runner, network, pooled, user, facts);

                Assert.Equal(Expected(network, user, session), result.StandardOutput.Split('\n', StringSplitOptions.RemoveEmptyEntries));
                // The warm-up placed its canaries, and this sandbox had a warm-up.
                Assert.Equal(pooled ? "warmed\n" : "", result.StandardError);
                Assert.Equal(session ? [] : ["escape-mark"], result.OutputFiles.Select(output => output.Path));
            }

            await neighbour.StopAsync();
            host.StandardInput.Close();
            string touched = (await host.StandardOutput.ReadToEndAsync(Cancel)).Trim();

            // Reaching this port is the purpose of the mode host.
            Assert.Equal(network == "host" ? $"('127.0.0.1', {port})" : "untouched", touched);
            await host.WaitForExitAsync(Cancel);
        }
        finally
        {
            host.StandardInput.Close();
            await host.WaitForExitAsync(CancellationToken.None);
            File.Delete(paths[1]);
            File.Delete(paths[1] + ".sock");
            File.Delete(paths[2]);
        }

        Assert.Equal(settings, Settings.Where(File.Exists).Select(File.ReadAllText));
        Assert.Equal(images, await EscapeImage.FilesAsync(options.Home));
    }

    [Theory]
    [InlineData("0", false, "ENOENT")]
    [InlineData("0", true, "ENOENT")]
    [InlineData("65534", false, "EACCES")]
    [InlineData("65534", true, "EACCES")]
    public async Task A_command_cannot_overwrite_the_program_of_PID_1(string user, bool pooled, string outcome)
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "The attack is code for x86-64.");
        BoxerOptions options = image.Options();
        options.Pool.Enabled = pooled;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        var request = new SandboxRequest(EscapeImage.Name, "python3", "/job/overwrite.py") { User = user, OutputFiles = OutputFilePolicy.Discard };
        request.Files.Add(SandboxFile.FromText("job/overwrite.py", await File.ReadAllTextAsync(Path.Join(Folder, "overwrite.py"), Cancel)));
        SandboxResult result = pooled ? await runner.WarmAsync(request) : await runner.RunAsync(request, Cancel);

        Assert.Equal(7, result.ExitCode);
        Assert.Equal($"/.boxer/init\t{outcome}\n/proc/1/root/.boxer/init\tEACCES\n/proc/1/exe\tEACCES\n", result.StandardOutput);
    }

    [Fact]
    public async Task A_warm_up_of_user_0_cannot_overwrite_the_program_of_PID_1()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "The attack is code for x86-64.");
        BoxerOptions options = image.Options();
        options.Pool.Enabled = true;
        options.Pool.Images = [new() { Image = EscapeImage.RootName, Count = 0, WarmUp = ["sh", "-c", "python3 -c \"$1\" >/var/tmp/tried", "sh", await File.ReadAllTextAsync(Path.Join(Folder, "overwrite.py"), Cancel)] }];
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxResult result = await runner.WarmAsync(new SandboxRequest(EscapeImage.RootName, "sh", "-c", "cat /var/tmp/tried; exit 7"));

        Assert.Equal("/.boxer/init\tENOENT\n/proc/1/root/.boxer/init\tEACCES\n/proc/1/exe\tEACCES\n", result.StandardOutput);
        Assert.Equal(7, result.ExitCode);
    }

    /// <summary>After a warm-up of user 0 that tries to change everything in leave.py, a run finds the same as in a sandbox without it.</summary>
    [Theory]
    [InlineData("0", "none")]
    [InlineData("65534", "none")]
    [InlineData("0", "host")]
    public async Task A_warm_up_of_user_0_leaves_only_files_of_the_image(string user, string network)
    {
        string program = await File.ReadAllTextAsync(Path.Join(Folder, "leave.py"), Cancel);
        BoxerOptions options = image.Options();
        options.Pool.Enabled = true;
        options.Pool.Images = [new() { Image = EscapeImage.RootName, Count = 0, WarmUp = ["sh", "-c", "python3 -c \"$1\" leave >/var/tmp/taken", "sh", program] }];
        options.DefaultLimits.CpuCores = 2;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        options.Pool.Enabled = false;
        await using SandboxRunner other = SandboxRunnerFactory.Create(options);
        var request = new SandboxRequest(EscapeImage.RootName, "python3", "-c", program, "look", network == "none" ? "connect" : "") { User = user, Network = network };
        SandboxResult cold = await other.RunAsync(request, Cancel);
        SandboxResult warm = await runner.WarmAsync(request);
        SandboxResult taken = await runner.WarmAsync(new SandboxRequest(EscapeImage.RootName, "cat", "/var/tmp/taken") { Network = network });

        Assert.Equal(cold.StandardOutput + cold.StandardError, warm.StandardOutput + warm.StandardError);
        Assert.Equal((0, network == "none"), (warm.ExitCode, warm.StandardOutput.EndsWith("connected\n", StringComparison.Ordinal)));

        // The warm-up changed everything that it could.
        Assert.Superset(
            new HashSet<string> { "file in /dev/shm", "mode of /proc", "mode in /proc", "priority of PID 1", "process of another user" },
            taken.StandardOutput.Split('\n').ToHashSet());
        Assert.DoesNotContain("of the run\n", taken.StandardOutput, StringComparison.Ordinal);
        Assert.DoesNotContain("mode of /proc/", taken.StandardOutput, StringComparison.Ordinal);
        Assert.DoesNotContain("below the root", taken.StandardOutput, StringComparison.Ordinal);
    }

    /// <summary>A run of the other user, which has canaries too.</summary>
    private SandboxRequest Neighbour(string network, string program) => new(
        EscapeImage.Name, "sh", "-c", "sleep 1000 | python3 -c \"$@\"", "sh", program, _tag, _backwards, "/tmp/boxer-canary", "/dev/shm/boxer-canary")
    {
        Network = network,
    };

    private static async Task<SandboxResult> AttackAsync(SandboxRunner runner, string network, bool pooled, string user, JsonObject facts)
    {
        var request = new SandboxRequest(EscapeImage.Name, EscapeSession.Attack(facts))
        {
            Network = network,
            User = user,
            Limits = new() { WallClock = TimeSpan.FromMinutes(5) },
        };
        // All 65,536 take a quarter of a minute.
        request.Environment["STEP"] = network == "none" && !pooled ? "1" : "61";
        request.Files.Add(EscapeSession.Program);
        return pooled ? await runner.WarmLongAsync(request) : await runner.RunAsync(request, Cancel);
    }

    private static List<string> Expected(string network, string user, bool session)
    {
        Dictionary<string, bool> kinds = new(StringComparer.Ordinal) { ["host: "] = network == "host", ["session: "] = session };
        List<string> expected = [];
        foreach (string line in File.ReadLines(Path.Join(Folder, "expected.txt")).Where(line => line.Length > 0 && line[0] != '#'))
        {
            string kind = kinds.Keys.FirstOrDefault(kind => line.StartsWith(kind, StringComparison.Ordinal), "");
            if (kind.Length > 0 && !kinds[kind])
            {
                continue;
            }

            string[] columns = line[kind.Length..].Split('\t');
            string outcome = columns.Length > 2 && user == "0" ? columns[2] : columns[1];
            if (kind.Length > 0 && expected[^1].StartsWith(columns[0] + "\t", StringComparison.Ordinal))
            {
                expected.RemoveAt(expected.Count - 1);
            }

            expected.Add($"{columns[0]}\t{outcome}");
        }

        return expected;
    }
}
