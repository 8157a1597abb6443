using Boxer.Images;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Escape;

/// <summary>
/// The Python image with two more programs: one that sets user and group to 0, and one that has every capability. And the same image with
/// user 0, which then runs its warm-ups.
/// </summary>
public sealed class EscapeImage(PythonImage image) : IAsyncLifetime
{
    internal const string Name = "escape:1";
    internal const string RootName = "escape-root:1";

    private readonly string _home = Directory.CreateTempSubdirectory("boxer-escape-").FullName;
    private string? _files;

    /// <summary>Lists the files of all images, as <see cref="TreeListing"/> does.</summary>
    internal static async Task<string> FilesAsync(string home) =>
        await TreeListing.ReadAsync(Path.Join(home, "layers")) + await TreeListing.ReadAsync(Path.Join(home, "roots"));

    /// <summary>
    /// Lists the files of all images as they were before the first test that asks for them. The home belongs to these tests alone, and no pull comes
    /// after it.
    /// </summary>
    /// <param name="runner">A runner with <see cref="Options"/>. It pulls the images.</param>
    internal async Task<string> FilesAsync(SandboxRunner runner)
    {
        if (_files is null)
        {
            foreach (string name in (string[])[Name, RootName])
            {
                await runner.Images.PullAsync(ImageReference.Parse(name), cancellationToken: TestContext.Current.CancellationToken);
            }

            _files = await FilesAsync(_home);
        }

        return _files;
    }

    /// <summary>Gets options that find the image, with a home for these tests alone; skips the test without the image.</summary>
    internal BoxerOptions Options()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("umoci"), "Needs umoci in PATH.");
        BoxerOptions options = image.Options();
        options.Home = _home;
        return options;
    }

    public async ValueTask InitializeAsync()
    {
        string? layout = Environment.GetEnvironmentVariable(PythonImage.LayoutVariable);
        if (layout is null || image.Url.Length == 0 || !HostProgram.Exists("umoci"))
        {
            return;
        }

        string work = Directory.CreateTempSubdirectory("boxer-escape-").FullName;
        try
        {
            await HostProgram.RunAsync("sh", "-ec", """
                cp -rL "$1" "$2/layout"
                umoci raw unpack --image "$2/layout:latest" "$2/root"
                mkdir "$2/bin"
                python=$(readlink -f "$2/root/usr/bin/python3")
                cp "$python" "$2/bin/escape-setuid"
                cp "$python" "$2/bin/escape-capable"
                chmod 6755 "$2/bin/escape-setuid"
                # Version 2 of the attribute: effective, with all capabilities.
                /usr/bin/python3 -c 'import os, struct, sys; os.setxattr(sys.argv[1], "security.capability", struct.pack("<5I", 0x2000001, 2**32 - 1, 0, 0x1ff, 0))' "$2/bin/escape-capable"
                for program in setuid capable; do
                    umoci insert --image "$2/layout:latest" "$2/bin/escape-$program" "/usr/bin/escape-$program"
                done
                skopeo copy --quiet --dest-tls-verify=false "oci:$2/layout:latest" "docker://$3/library/$4"
                umoci config --image "$2/layout:latest" --config.user 0
                skopeo copy --quiet --dest-tls-verify=false "oci:$2/layout:latest" "docker://$3/library/$5"
                """, "sh", layout, work, image.Url["http://".Length..], Name, RootName);
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    public ValueTask DisposeAsync()
    {
        Directory.Delete(_home, recursive: true);
        return ValueTask.CompletedTask;
    }
}
