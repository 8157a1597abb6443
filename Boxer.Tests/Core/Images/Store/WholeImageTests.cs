using System.Text.Json;
using Boxer.Images;
using Boxer.Images.Manifests;
using Boxer.Images.Roots;
using Boxer.Images.Store;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Store;

/// <summary>Images of other tools, from a real registry, compared with the trees that umoci unpacks: every entry with all its attributes.</summary>
[Slow]
public sealed class WholeImageTests(RegistryFixture registry) : IClassFixture<RegistryFixture>, IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    [Fact]
    public async Task Debian_with_Python_has_the_tree_that_umoci_unpacks()
    {
        string? layout = Environment.GetEnvironmentVariable(PythonImage.LayoutVariable);
        Assert.SkipWhen(string.IsNullOrEmpty(layout), $"Needs {PythonImage.LayoutVariable} to name an OCI layout with Python: run ./test.sh.");
        Require();
        string expected = await UmociAsync(layout!);
        Assert.InRange(expected.Count(c => c == '\n'), 5_000, 200_000);

        // Devices and FIFOs are omitted.
        expected = string.Concat(expected.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => !line.Contains(" 0o20", StringComparison.Ordinal)).Select(line => line + '\n'));

        await AssertSameAsync(layout!, "debian/python:1", expected);
    }

    [Fact]
    public async Task Layers_that_change_everything_have_the_tree_that_umoci_unpacks()
    {
        Require();
        await MakeAsync();
        string expected = await UmociAsync(_scratch["layout"]);
        Assert.Contains("security.capability=", expected, StringComparison.Ordinal);

        await AssertSameAsync(_scratch["layout"], "changes:1", expected);
    }

    [Theory]
    [InlineData("v2s2", "tar.gzip", "--format", "v2s2")]
    [InlineData("zstd", "tar+zstd", "--format", "oci", "--dest-compress-format", "zstd")]
    [InlineData("chunked", "tar+zstd", "--format", "oci", "--dest-compress-format", "zstd:chunked")]
    public async Task Other_forms_of_an_image_have_the_same_tree(string tag, string mediaType, params string[] options)
    {
        Require();
        await MakeAsync();
        string expected = await UmociAsync(_scratch["layout"]);
        try
        {
            await registry.PushAsync(_scratch["layout"], "latest", "forms:" + tag, options);
        }
        catch (Xunit.Sdk.XunitException fault) when (fault.Message.Contains("compress", StringComparison.Ordinal))
        {
            Assert.Skip("skopeo cannot write this form: " + fault.Message);
        }

        string[] mediaTypes = await MediaTypesAsync("forms", tag);
        Assert.SkipUnless(mediaTypes.All(layer => layer.EndsWith(mediaType, StringComparison.Ordinal)), $"skopeo left the layers as they are: {string.Join(", ", mediaTypes)}");
        await AssertSameAsync(null, "forms:" + tag, expected);
    }

    [Theory]
    [InlineData(ImageRootKind.Flattened)]
    [InlineData(ImageRootKind.Overlay)]
    public async Task A_layer_without_an_entry_for_a_directory_does_not_change_its_attributes(ImageRootKind kind)
    {
        Require();
        await HostProgram.RunAsync("sh", "-ec", """
            cd "$1"
            umoci init --layout layout
            umoci new --image layout:latest
            mkdir -p files/shared/deep
            chmod 3777 files/shared
            chown 12:34 files/shared/deep
            chmod 750 files/shared/deep
            umoci insert --image layout:latest files /
            echo content > file
            umoci insert --image layout:latest file /shared/deep/file
            """, "sh", _scratch.Path);
        await AssertSameAsync(_scratch["layout"], "parents:1", await UmociAsync(_scratch["layout"]), kind);
    }

    public void Dispose() => _scratch.Dispose();

    private void Require()
    {
        Assert.SkipWhen(registry.Missing is not null, registry.Missing ?? "");
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        Assert.SkipUnless(File.Exists("/usr/bin/python3"), "not installed: python3");
    }

    // Both kinds of roots, each with a store of its own, so that they share no content.
    private async Task AssertSameAsync(string? layout, string name, string expected, ImageRootKind? only = null)
    {
        if (layout is not null)
        {
            await registry.PushAsync(layout, "latest", name);
        }

        string? obstacle = only == ImageRootKind.Flattened ? null : OverlayMounts.GetUnavailableReason(_scratch["probe"]);
        ImageRootKind[] kinds = only is { } one ? [one] : [ImageRootKind.Flattened, ImageRootKind.Overlay];
        foreach (ImageRootKind kind in kinds.Where(kind => kind == ImageRootKind.Flattened || obstacle is null))
        {
            await using var store = new ImageStore(new ImageStoreOptions { Home = _scratch[$"home-{kind}"], RootKind = kind, AllowedRegistries = [registry.Host] });
            await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse($"{registry.Host}/{name}"), TestContext.Current.CancellationToken);

            string actual = await TreeListing.ReadAsync(lease.RootPath);
            Assert.True(expected == actual, $"{kind}:\n{Difference(expected, actual)}");
        }

        Assert.SkipWhen(obstacle is not null, $"flattened roots are right; overlay mounts are not possible here: {obstacle}");
    }

    private static string Difference(string expected, string actual)
    {
        string[] one = expected.Split('\n');
        string[] other = actual.Split('\n');
        return string.Join('\n', [.. one.Except(other).Take(10).Select(line => "- " + line), .. other.Except(one).Take(10).Select(line => "+ " + line)]);
    }

    private async Task<string> UmociAsync(string layout)
    {
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", layout + ":latest", _scratch["umoci"]);
        return await TreeListing.ReadAsync(_scratch["umoci"]);
    }

    private async Task<string[]> MediaTypesAsync(string repository, string tag)
    {
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"{registry.Url}/v2/{repository}/manifests/{tag}"));
        request.Headers.Accept.Add(new(ImageMediaTypes.OciManifest));
        request.Headers.Accept.Add(new(ImageMediaTypes.DockerManifest));
        using HttpResponseMessage response = await client.SendAsync(request, TestContext.Current.CancellationToken);
        using JsonDocument manifest = JsonDocument.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        return [.. manifest.RootElement.GetProperty("layers").EnumerateArray().Select(layer => layer.GetProperty("mediaType").GetString()!)];
    }

    /// <summary>An image of four layers: files of all kinds, changes of each, changes back, and the changes again.</summary>
    private Task<string> MakeAsync() => HostProgram.RunAsync("sh", "-ec", """
        cd "$1"
        umoci init --layout layout
        umoci new --image layout:latest
        umoci unpack --image layout:latest bundle
        cd bundle/rootfs
        # No layer that the registry has already: skopeo would take that one, however it is compressed.
        stamp() { head -c 16 /dev/urandom > stamp; }
        set_attribute() { /usr/bin/python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))' "$@"; }

        mkdir -p deleted/deep chmodded emptied/sub renamed/sub sticky setgid swapped plain "with space"
        for file in deleted/deep/f chmodded/f emptied/f emptied/sub/f renamed/f renamed/sub/f swapped/f plain/f plain/g plain/h "with space/f"; do echo "$file" > "$file"; done
        printf 'x' > "latin-$(printf '\351')"
        echo long > "$(printf 'n%.0s' $(seq 200))"
        chmod 1777 sticky
        chmod 2755 setgid
        chown 12:34 setgid plain/g
        chmod 4711 plain/g
        ln plain/f hard
        ln plain/f plain/hard
        ln -s /plain/f absolute
        ln -s ../../nowhere dangling
        ln -s plain linked
        chown -h 56:78 dangling
        set_attribute plain/h security.capability 0100000200200000000000000000000000000000
        set_attribute plain/h user.note 00ff41
        touch -d @1234567890.123456789 plain/h plain
        truncate -s 3000000 sparse
        stamp; cd "$1"; umoci repack --refresh-bundle --image layout:latest bundle; cd bundle/rootfs

        rm -r deleted dangling
        chmod 700 chmodded
        chmod 6755 chmodded/f
        rm -r emptied; mkdir emptied; echo new > emptied/new
        mv renamed moved; ln -s moved renamed
        rm -r swapped; echo file > swapped
        echo changed > plain/f
        ln plain/g another
        echo t > sticky/t
        rm linked; mkdir linked; echo here > linked/here
        set_attribute plain/f security.capability 0100000200040000000000000000000000000000
        stamp; cd "$1"; umoci repack --refresh-bundle --image layout:latest bundle; cd bundle/rootfs

        mkdir deleted; echo again > deleted/again
        rm renamed; mkdir renamed; echo r > renamed/r
        rm swapped; mkdir swapped; echo s > swapped/s
        rm hard
        rm -r linked; ln -s plain linked
        chown 99:99 plain
        chmod 4755 another
        stamp; cd "$1"; umoci repack --refresh-bundle --image layout:latest bundle; cd bundle/rootfs

        rm -r emptied/new swapped; mkdir swapped
        mv plain/h sticky/h
        touch -d @1000000000.5 sticky
        mkdir -p a/b/c/d; echo d > a/b/c/d/e
        stamp; cd "$1"; umoci repack --refresh-bundle --image layout:latest bundle
        """, "sh", _scratch.Path);
}
