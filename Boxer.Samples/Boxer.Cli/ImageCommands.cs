using System.CommandLine;
using System.Globalization;
using Boxer.Images;
using Spectre.Console;

namespace Boxer.Cli;

/// <summary>Commands on the image store.</summary>
internal static class ImageCommands
{
    private const int WideEnough = 250;

    internal static Command Pull(CommonOptions settings)
    {
        Argument<string> image = Image("The image, such as python:3.12-slim.");
        var command = new Command("pull", "Pulls an image, or the current image of its tag.") { image };
        command.SetAction(async (result, cancellationToken) =>
        {
            await using SandboxRunner runner = settings.CreateRunner(result);
            IImageStore store = runner.Images;
            ImageReference reference = ImageReference.Parse(result.GetRequiredValue(image));
            string digest = await WithBarsAsync(progress => store.PullAsync(reference, progress, cancellationToken));
            await Console.Out.WriteLineAsync($"{reference} {digest}");
            return 0;
        });
        return command;
    }

    internal static Command Import(CommonOptions settings)
    {
        Argument<string> source = new("SOURCE") { Description = "oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REFERENCE] or rootfs:FILE." };
        Argument<string> image = Image("The name of the image, with a tag.");
        var command = new Command("import", "Imports an image from a file or directory.") { source, image };
        command.SetAction(async (result, cancellationToken) =>
        {
            await using SandboxRunner runner = settings.CreateRunner(result);
            IImageStore store = runner.Images;
            ImageReference reference = ImageReference.Parse(result.GetRequiredValue(image));
            ImageSource from = ImageSource.Parse(result.GetRequiredValue(source));
            string digest = await WithBarsAsync(progress => store.ImportAsync(from, reference, progress, cancellationToken));
            await Console.Out.WriteLineAsync($"{reference} {digest}");
            return 0;
        });
        return command;
    }

    internal static Command List(CommonOptions settings)
    {
        Option<bool> quiet = new("--quiet", "-q") { Description = "Prints only names." };
        var command = new Command("images", "Lists the images of the local store.") { quiet };
        command.SetAction(async (result, cancellationToken) =>
        {
            await using SandboxRunner runner = settings.CreateRunner(result);
            IImageStore store = runner.Images;
            IReadOnlyList<ImageInfo> images = await store.ListAsync(cancellationToken);
            if (result.GetValue(quiet))
            {
                foreach (ImageInfo image in images)
                {
                    await Console.Out.WriteLineAsync(image.Reference);
                }

                return 0;
            }

            Table table = new Table().NoBorder().AddColumns("IMAGE", "DIGEST", "SIZE", "LAST USED");
            foreach (ImageInfo image in images)
            {
                table.AddRow(
                    new Text(image.Reference), new Text(image.Digest["sha256:".Length..][..12]), new Text(Show(image.Bytes)), new Text(image.LastUsed.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)));
            }

            if (Console.IsOutputRedirected)
            {
                AnsiConsole.Profile.Width = WideEnough;
            }

            AnsiConsole.Write(table);
            return 0;
        });
        return command;
    }

    internal static Command Remove(CommonOptions settings)
    {
        Argument<string[]> images = new("IMAGE") { Description = "Names of the images.", Arity = ArgumentArity.OneOrMore };
        var command = new Command("rm", "Removes images that are not in use.") { images };
        command.SetAction(async (result, cancellationToken) =>
        {
            await using SandboxRunner runner = settings.CreateRunner(result);
            IImageStore store = runner.Images;
            int exitCode = 0;
            foreach (ImageReference reference in result.GetRequiredValue(images).Select(ImageReference.Parse).ToList())
            {
                switch (await store.RemoveAsync(reference, cancellationToken))
                {
                    case ImageRemoval.NotFound:
                        await Console.Error.WriteLineAsync($"{reference} is not in the local store; \"boxer images\" lists its images.");
                        exitCode = ExitCodes.Refused;
                        break;
                    case ImageRemoval.InUse:
                        await Console.Error.WriteLineAsync($"{reference} is in use by another process.");
                        exitCode = ExitCodes.Refused;
                        break;
                    default:
                        await Console.Out.WriteLineAsync($"{reference}");
                        break;
                }
            }

            return exitCode;
        });
        return command;
    }

    internal static Command Prune(CommonOptions settings)
    {
        Option<bool> all = new("--all", "-a") { Description = "Also removes images with a name." };
        Option<double?> days = new("--unused-days") { Description = "Also removes images that were not used for this number of days." };
        var command = new Command("prune", "Removes data that belongs to no image. Images in use are never removed.") { all, days };
        command.SetAction(async (result, cancellationToken) =>
        {
            await using SandboxRunner runner = settings.CreateRunner(result);
            IImageStore store = runner.Images;
            TimeSpan? unusedFor = result.GetValue(days) is { } number ? TimeSpan.FromDays(number) : result.GetValue(all) ? TimeSpan.Zero : null;
            ImagePruneResult pruned = await store.PruneAsync(unusedFor, cancellationToken);
            await Console.Out.WriteLineAsync($"{pruned.Images} images, {Show(pruned.Bytes)}");
            return 0;
        });
        return command;
    }

    /// <summary>Shows a progress bar for each layer of a pull, unless standard error is redirected.</summary>
    internal static async Task<T> WithBarsAsync<T>(Func<IProgress<PullProgress>?, Task<T>> pull)
    {
        if (Console.IsErrorRedirected)
        {
            return await pull(null);
        }

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        return await console.Progress()
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new DownloadedColumn(), new TransferSpeedColumn())
            .StartAsync(context => pull(new Bars(context)));
    }

    private static Argument<string> Image(string description) => new("IMAGE") { Description = description };

    private static string Show(long bytes) => bytes switch
    {
        < 1_000_000 => FormattableString.Invariant($"{bytes / 1e3:0.#} kB"),
        < 1_000_000_000 => FormattableString.Invariant($"{bytes / 1e6:0.#} MB"),
        _ => FormattableString.Invariant($"{bytes / 1e9:0.##} GB"),
    };

    private sealed class Bars(ProgressContext context) : IProgress<PullProgress>
    {
        private readonly Lock _lock = new();
        private readonly Dictionary<string, ProgressTask> _layers = new(StringComparer.Ordinal);

        public void Report(PullProgress value)
        {
            lock (_lock)
            {
                if (!_layers.TryGetValue(value.Digest, out ProgressTask? layer))
                {
                    _layers[value.Digest] = layer = context.AddTask(value.Digest["sha256:".Length..][..12], maxValue: Math.Max(1, value.TotalBytes));
                }

                layer.Value = value.IsStored ? layer.MaxValue : value.Bytes;
            }
        }
    }
}
