using Boxer.Machine;
using Boxer.Native;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Tests.Hosting;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Tests.Core.Machine;

public sealed class StartupReconcilerTests : IDisposable
{
    private const int Nobody = 65534;
    private readonly ScratchDirectory _scratch = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ReconcileInstancesAsync_removes_dead_instances_despite_strangers_with_their_arguments()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to be two users.");

        // The stand-in for the runtime: another user may run it too.
        string program = _scratch["runtime"];
        File.Copy("/bin/sh", program);
        File.SetUnixFileMode(_scratch.Path, (UnixFileMode)0x1ED);
        File.SetUnixFileMode(program, (UnixFileMode)0x1ED);
        InstanceDirectory living = InstanceDirectory.Create(_scratch["base"]);
        string dead = Directory.CreateDirectory(_scratch["base/0123abcd"]).FullName;
        File.WriteAllText(dead + ".lock", "");
        new RuntimePrograms(dead).Add(program);
        string argument = $"--root={dead}/s/x/state";
        using var own = new Stranger(argument, shell: program);
        using var otherProgram = new Stranger(argument);
        using var otherUser = new Stranger(argument, Nobody, program);
        using var neighbour = new Stranger($"--root={living.Directory}/s/x/state", Nobody);

        await StartupReconciler.ReconcileInstancesAsync(_scratch["base"], TimeProvider.System, NullLogger.Instance);
        Assert.False(Path.Exists(dead) || Path.Exists(dead + ".lock"));
        await living.DisposeAsync();

        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["base"]));
        await Until.IsSoAsync(() => !own.IsAlive, 30);
        Assert.All([otherProgram, otherUser, neighbour], stranger => Assert.True(stranger.IsAlive));
    }

    [Fact]
    public async Task ReconcileNetworksAsync_logs_a_mode_that_fails_and_goes_on()
    {
        using var log = new LogLines();
        using ILoggerFactory loggers = LoggerFactory.Create(builder => builder.AddProvider(log));
        var reconciler = new StartupReconciler(_scratch.Path, TimeProvider.System, loggers.CreateLogger("test"));
        var failing = new Mode("failing", new IOException("no table"));
        var other = new Mode("other", fault: null);

        await reconciler.ReconcileNetworksAsync([failing, other], Cancel);

        Assert.True(other.IsReconciled);
        Assert.Contains(log.All, line => line.Contains("network mode 'failing'", StringComparison.Ordinal));
    }

    [Fact]
    public async Task ReconcileNetworksAsync_is_cancelled_with_its_mode()
    {
        var reconciler = new StartupReconciler(_scratch.Path, TimeProvider.System, NullLogger.Instance);

        await Assert.ThrowsAsync<OperationCanceledException>(() => reconciler.ReconcileNetworksAsync([new Mode("slow", new OperationCanceledException())], Cancel));
    }

    public void Dispose() => _scratch.Dispose();

    private sealed class Mode(string name, Exception? fault) : INetworkMode
    {
        public string Name => name;

        public bool SupportsPooling => false;

        public bool IsReconciled { get; private set; }

        public string? GetUnavailableReason() => null;

        public Task ReconcileAsync(CancellationToken cancellationToken)
        {
            IsReconciled = true;
            return fault is null ? Task.CompletedTask : Task.FromException(fault);
        }

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
