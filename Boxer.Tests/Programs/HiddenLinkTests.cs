using Boxer.Images;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>A directory in a layer hides a symbolic link in a lower one, and the reverse, as commands see it.</summary>
[LongTests]
[Collection(RealPrograms.Name)]
public sealed class HiddenLinkTests(ProgramsImage programs)
{
    private const string ADirectory = "drwxr-xr-x d\nd/new:new\nreal/real:real\n";
    private const string ALink = "lrwxrwxrwx d -> real\nd/real:real\nreal/real:real\n";

    // User 0 can remove the name. No entry of a lower layer may reappear then.
    private const string Script = """
        busybox ls -ld d | busybox awk '{ print $1, $9 ($10 ? " " $10 " " $11 : "") }'
        busybox find d/ real/ -type f -exec busybox grep -H . {} + | busybox sort
        echo own >d/own && busybox cat d/own
        busybox rm -rf d && busybox ls -d d
        busybox ln -s real d && busybox cat d/real
        """;

    private const string Rest = "own\nls: d: No such file or directory\nreal";

    /// <summary>The layers above the lowest one, which has the directory <c>real</c>, and the first output of <see cref="Script"/>.</summary>
    private static readonly Dictionary<string, (Archive Lowest, Archive[] Above, string Output)> Table = new()
    {
        ["a directory over a link"] = (new Archive().Link("d", "real"), [new Archive().Directory("d").File("d/new", "new")], ADirectory),
        ["a file through a link"] = (new Archive().Link("d", "real"), [new Archive().File("d/new", "new")], ADirectory),
        ["a file through a link to a directory of the host"] = (new Archive().Link("d", "/etc"), [new Archive().File("d/new", "new")], ADirectory),
        ["a directory over a link to nowhere"] = (new Archive().Link("d", "nowhere"), [new Archive().Directory("d").File("d/new", "new")], ADirectory),
        ["a link over a directory"] = (new Archive().Directory("d").File("d/old", "old"), [new Archive().Link("d", "real")], ALink),
        ["a link over a removed directory"] = (
            new Archive().Directory("d").File("d/old", "old"), [new Archive().File(".wh.d").Link("d", "real")], ALink),
        ["a link over a directory over a link"] = (
            new Archive().Link("d", "nowhere"), [new Archive().Directory("d").File("d/new", "new"), new Archive().Link("d", "real")], ALink),
        ["a directory over a link over a directory"] = (
            new Archive().Directory("d").File("d/old", "old"), [new Archive().Link("d", "real"), new Archive().Directory("d").File("d/new", "new")], ADirectory),
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task The_upper_entry_is_all_that_a_command_finds(string name)
    {
        (Archive lowest, Archive[] above, string output) = Table[name];
        string image = await ImportAsync(lowest, above);

        (string cold, string pooled) = await programs.RunColdAndPooledAsync(new(image, "/bin/busybox", "sh", "-c", Script) { User = "0", MergeStandardError = true });

        Assert.Equal((output + Rest, output + Rest), (cold, pooled));
    }

    [Fact]
    public async Task A_command_whose_interpreter_is_behind_a_hidden_link_is_reported()
    {
        string image = await ImportAsync(
            new Archive().Add('0', "bin/greet", content: "#!/d/sh\n"u8.ToArray(), mode: 0b111_101_101).Link("real/sh", "/bin/busybox").Link("d", "real"),
            new Archive().Directory("d").File("d/new"));

        SandboxResult result = await programs.Cold.RunAsync(new(image, "greet"), Cancel);

        Assert.Equal(
            (TerminationKind.NotStarted, "the command 'greet', or the interpreter that it needs (of its #! line, or its dynamic loader), was not found in the image"),
            (result.Termination.Kind, result.Termination.Message));
    }

    [Theory]
    [InlineData("0", "/var/roothome")]
    [InlineData("65534", "/var/home/boxer")]
    public async Task Directories_behind_dangling_links_are_created(string user, string home)
    {
        // Images of systems that keep all mutable state below /var look like this.
        string image = await ImportAsync(
            new Archive().Link("home", "var/home").Link("root", "/var/roothome").Link("tmp", "sysroot/tmp").Link("sysroot", "ostree/deep/sysroot").Link("loop", "loop"));
        var request = new SandboxRequest(image, "/bin/busybox", "sh", "-c", "cd; echo x > file; /bin/busybox pwd -P; echo y > /tmp/file; /bin/busybox cat file /tmp/file") { User = user };

        (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);

        Assert.Equal((home + "\nx\ny\n", home + "\nx\ny\n"), (cold, pooled));
    }

    [Fact]
    public async Task A_hard_link_to_a_file_behind_a_link_of_a_lower_layer_is_rejected_with_its_name()
    {
        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(
            () => ImportAsync(new Archive().Link("d", "real"), new Archive().HardLink("new", "d/real")));

        Assert.EndsWith("Entry \"new\" is refused: the hard link's target \"d/real\" is not a file in this layer.", fault.Message, StringComparison.Ordinal);
    }

    private async Task<string> ImportAsync(Archive lowest, params Archive[] above)
    {
        programs.Require();
        using var scratch = new ScratchDirectory();
        lowest.Add('0', "bin/busybox", content: await File.ReadAllBytesAsync("/bin/busybox", Cancel), mode: 0b111_101_101).Directory("real").File("real/real", "real");
        OciLayout.Write(scratch["layout"], [.. above.Prepend(lowest).Select(layer => layer.ToBytes())]);
        string image = $"localhost/links:{Guid.NewGuid():n}";
        await programs.ImportAsync(ImageSource.Parse($"oci:{scratch["layout"]}"), image);
        return image;
    }
}
