using System.Buffers;
using System.Globalization;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Boxer.AspNetCore;
using Boxer.Networking;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Boxer.PublicApi.Tests;

/// <summary>A runner enforces the documented bounds of a request: it accepts the bound and rejects one more.</summary>
public sealed partial class DocumentedBoundsTests : IAsyncDisposable
{
    private readonly SandboxRunner _runner = new(new BoxerOptions { Home = Path.Combine(Path.GetTempPath(), "boxer-is-not-started") }, [new ClosedNetwork()]);

    public ValueTask DisposeAsync() => _runner.DisposeAsync();

    [Fact]
    public async Task SandboxFile_Path()
    {
        long[] numbers = NumbersOf("P:Boxer.SandboxFile.Path");
        long path = numbers[0];
        long name = numbers[1];

        await BoundAsync(path, length => new() { Files = [SandboxFile.FromText(Long(length), "")] });
        await BoundAsync(path, length => new() { Workspace = new() { Inputs = { SandboxInput.FromFiles(SandboxFile.FromText(Long(length), "")) } } });
        await BoundAsync(name, length => new() { Files = [SandboxFile.FromText(new string('n', (int)length), "")] });

        static string Long(long length) => string.Concat(Enumerable.Repeat("d/", (int)(length - 1) / 2)).PadRight((int)length, 'f');
    }

    [Fact]
    public Task FairnessKey() => BoundAsync(NumbersOf("P:Boxer.SandboxRequest.FairnessKey")[0], length => new() { FairnessKey = new string('k', (int)length) });

    [Fact]
    public Task Files() => BoundAsync(
        NumbersOf("P:Boxer.SandboxRequest.Files")[0], count => new() { Files = [.. Enumerable.Range(0, (int)count).Select(i => SandboxFile.FromText($"f{i}", ""))] });

    [Fact]
    public Task StandardInput() => BoundAsync(NumbersOf("P:Boxer.SandboxRequest.StandardInput")[0], length => new() { StandardInput = new Untouched((int)length).All });

    [Fact]
    public async Task StopGrace()
    {
        long[] seconds = NumbersOf("P:Boxer.SandboxRequest.StopGrace");

        Assert.Equal(0, seconds[0]);
        await BoundAsync(seconds[1] * TimeSpan.TicksPerSecond, ticks => new() { StopGrace = TimeSpan.FromTicks(ticks) });
    }

    [Fact]
    public async Task Bounds_of_a_workspace()
    {
        await RangeAsync("P:Boxer.SandboxWorkspace.MaxBytes", value => new() { Workspace = new() { MaxBytes = value } });
        await RangeAsync("P:Boxer.SandboxWorkspace.MaxEntries", value => new() { Workspace = new() { MaxEntries = (int)value } });
        await RangeAsync("P:Boxer.SandboxWorkspace.MaxChangesBytes", value => new() { Workspace = new() { MaxChangesBytes = value } });

        async Task RangeAsync(string member, Func<long, Settings> make)
        {
            long[] range = NumbersOf(member);
            Assert.True(await IsAcceptedAsync(make(range[0])), $"{member}: {range[0]} is refused");
            Assert.False(await IsAcceptedAsync(make(range[0] - 1)), $"{member}: {range[0] - 1} is accepted");
            await BoundAsync(range[1], make);
        }
    }

    [Fact]
    public void Bounds_of_the_HTTP_facade()
    {
        Range("MaxUploadBytes", (options, value) => options.MaxUploadBytes = value);
        Range("MaxRequestBytes", (options, value) => options.MaxRequestBytes = value);
        Range("MaxInlineOutputBytes", (options, value) => options.MaxInlineOutputBytes = value);
        Range("MaxInlineOutputFiles", (options, value) => options.MaxInlineOutputFiles = (int)value);

        static void Range(string name, Action<BoxerHttpOptions, long> set)
        {
            long[] range = NumbersOf("P:Boxer.AspNetCore.BoxerHttpOptions." + name, "Boxer.AspNetCore");
            Assert.Equal((name, true, true, false, false), (name, IsAccepted(range[0]), IsAccepted(range[1]), IsAccepted(range[0] - 1), IsAccepted(range[1] + 1)));

            bool IsAccepted(long value)
            {
                using ServiceProvider provider = new ServiceCollection().AddBoxerHttp(options => set(options, value)).BuildServiceProvider();
                try
                {
                    return provider.GetRequiredService<IOptions<BoxerHttpOptions>>().Value is not null;
                }
                catch (OptionsValidationException)
                {
                    return false;
                }
            }
        }
    }

    private async Task BoundAsync(long most, Func<long, Settings> make)
    {
        Assert.True(await IsAcceptedAsync(make(most)), $"{most} is refused");
        Assert.False(await IsAcceptedAsync(make(most + 1)), $"{most + 1} is accepted");
    }

    // Requests are validated before the network mode reports that it is unavailable. The host is not touched.
    private async Task<bool> IsAcceptedAsync(Settings settings)
    {
        var request = new SandboxRequest("image", "true")
        {
            Network = ClosedNetwork.ModeName,
            Files = settings.Files,
            Workspace = settings.Workspace,
            FairnessKey = settings.FairnessKey,
            StandardInput = settings.StandardInput,
            StopGrace = settings.StopGrace,
        };
        Exception fault = await Assert.ThrowsAnyAsync<SandboxException>(() => _runner.RunAsync(request, TestContext.Current.CancellationToken));
        Assert.True(fault is SandboxPrivilegeException or InvalidSandboxRequestException, fault.ToString());
        return fault is SandboxPrivilegeException;
    }

    // Reads the numbers of the summary in bytes, in their order.
    private static long[] NumbersOf(string member, string assembly = "Boxer.Core")
    {
        string summary = XDocument.Load(Path.Combine(AppContext.BaseDirectory, assembly + ".xml")).Descendants("member")
            .Single(element => (string?)element.Attribute("name") == member).Element("summary")!.Nodes().OfType<XText>().Aggregate("", (text, node) => text + node.Value);
        return [.. Number().Matches(summary).Select(number => long.Parse(number.Groups[1].ValueSpan, NumberStyles.AllowThousands, CultureInfo.InvariantCulture) << number.Groups[2].Value switch
        {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => 0,
        })];
    }

    [GeneratedRegex(@"(?<![\w.])(?<number>[0-9][0-9,]*)(?: (?<unit>KiB|MiB|GiB))?\b", RegexOptions.None, 1000)]
    private static partial Regex Number();

    private sealed record Settings
    {
        public IList<SandboxFile> Files { get; init; } = [];

        public SandboxWorkspace? Workspace { get; init; }

        public string? FairnessKey { get; init; }

        public ReadOnlyMemory<byte> StandardInput { get; init; }

        public TimeSpan StopGrace { get; init; }
    }

    /// <summary>Memory with a length but without content.</summary>
    private sealed class Untouched(int length) : MemoryManager<byte>
    {
        public ReadOnlyMemory<byte> All => CreateMemory(length);

        public override Span<byte> GetSpan() => throw new NotSupportedException();

        public override MemoryHandle Pin(int elementIndex = 0) => throw new NotSupportedException();

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }

    private sealed class ClosedNetwork : INetworkMode
    {
        internal const string ModeName = "closed";

        public string Name => ModeName;

        public bool SupportsPooling => false;

        public string? GetUnavailableReason() => "it is closed.";

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
