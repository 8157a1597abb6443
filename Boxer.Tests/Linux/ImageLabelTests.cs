using System.IO.Pipelines;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>gVisor takes flags and mount hints from annotations of a spec that begin with dev.gvisor: an image must not set any.</summary>
[Collection(Sandboxes.Name)]
public sealed class ImageLabelTests(PythonImage image)
{
    [Fact]
    public async Task Labels_and_annotations_of_an_image_never_reach_the_spec()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("umoci"), "Needs umoci in PATH.");
        CancellationToken cancel = TestContext.Current.CancellationToken;
        string layout = Directory.CreateTempSubdirectory("boxer-labels-").FullName;
        try
        {
            await HostProgram.RunAsync("sh", "-ec", $"""
                cp -r {Environment.GetEnvironmentVariable(PythonImage.LayoutVariable)}/. {layout}
                umoci config --image {layout}:latest --config.label dev.gvisor.flag.network=host --config.label dev.gvisor.spec.rootfs.overlay=none \
                    --manifest.annotation dev.gvisor.flag.network=host --manifest.annotation dev.gvisor.internal.nohostuds=1
                skopeo copy --quiet --dest-tls-verify=false oci:{layout}:latest docker://{new Uri(image.Url).Authority}/library/labelled:latest
                """);
            await using SandboxRunner runner = SandboxRunnerFactory.Create(image.Options());
            string? spec = null;

            // The command lives until its specification was read.
            var pipe = new Pipe();
            await foreach (SandboxEvent item in runner.StreamAsync(new SandboxRequest("labelled", "sh", "-c", "echo; cat").WithStandardInput(pipe.Reader), cancel))
            {
                if (item is SandboxDataReceived)
                {
                    spec ??= string.Concat(OwnTraces.ReadSpecs().Select(found => found.GetRawText()));
                    await pipe.Writer.CompleteAsync();
                }
            }

            Assert.NotNull(spec);
            Assert.Contains("\"ociVersion\"", spec, StringComparison.Ordinal);
            Assert.DoesNotContain("nohostuds", spec, StringComparison.Ordinal);
            Assert.DoesNotContain("dev.gvisor.flag", spec, StringComparison.Ordinal);
            Assert.DoesNotContain("rootfs.overlay", spec, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(layout, recursive: true);
        }
    }
}
