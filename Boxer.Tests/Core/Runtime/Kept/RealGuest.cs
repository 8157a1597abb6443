using System.Globalization;
using Boxer.Processes;
using Boxer.Runtime;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Boxer.Tests.Core.Runtime.Init;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A kept sandbox over the real boxer-init under the real runsc, without a cgroup.</summary>
internal sealed class RealGuest : IAsyncDisposable
{
    internal const uint User = 65534;
    private readonly DescriptorPoller _poller = new();
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-kept-").FullName;
    private readonly InitSandbox _init;
    private readonly SandboxResources _resources;

    private RealGuest(InitSandbox init)
    {
        _init = init;
        _resources = new SandboxResources(_directory, new RuntimePrograms(_directory), TimeProvider.System, NullLogger.Instance, CancellationToken.None) { Init = init.Channel };
    }

    internal KeptSandbox Sandbox { get; private set; } = null!;

    internal static async Task<RealGuest> OpenAsync(InitFixture fixture)
    {
        Assert.SkipWhen(fixture.Unable is not null, fixture.Unable ?? "");
        var guest = new RealGuest(await InitSandbox.BootAsync(fixture.Root));
        OpenPlan plan = ScriptedGuest.Plan with { Start = InitSandbox.Start(User) with { Arguments = [], Environment = [], Outputs = null } };
        guest.Sandbox = await KeptSandbox.OpenAsync(guest._resources, plan, guest._poller, TimeProvider.System, TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        return guest;
    }

    internal static ExecPlan Command(params string[] arguments) => new()
    {
        Arguments = arguments,
        Environment = ["PATH=/bin", "HOME=/home/user"],
        User = new InitIdentity(User, User, []),
        WallClock = TimeSpan.FromSeconds(60),
    };

    internal static ExecPlan Shell(string script) => Command("sh", "-c", script);

    internal Task<ExecOutcome> ExecAsync(ExecPlan plan) => Sandbox.ExecAsync(plan, () => { }, (_, _) => { }, TestContext.Current.CancellationToken);

    /// <summary>Waits until the guest has a number of processes, without PID 1 and the one that counts.</summary>
    internal Task AssertProcessesAsync(int expected) => Until.IsSoAsync(async () => await CountProcessesAsync() == expected, 60);

    /// <summary>Counts the processes now, without PID 1 and the command that counts.</summary>
    internal async Task<int> CountProcessesAsync() =>
        int.Parse((await ExecAsync(Shell("set -- /proc/[0-9]*; echo $(($# - 2))"))).Stdout.Span, CultureInfo.InvariantCulture);

    public async ValueTask DisposeAsync()
    {
        await Sandbox.DisposeAsync();
        await _init.DisposeAsync();
        await _resources.DisposeAsync();
        _poller.Dispose();
    }
}
