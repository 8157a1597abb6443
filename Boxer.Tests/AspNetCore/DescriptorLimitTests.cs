using Boxer.AspNetCore;
using Boxer.AspNetCore.Protection;

namespace Boxer.Tests.AspNetCore;

public sealed class DescriptorLimitTests
{
    private static readonly BoxerOptions ManySessions = new() { MaxConcurrentRuns = 1, Pool = new() { Enabled = false }, MaxMemoryBytes = 1_000 * ByteSize.TiB };

    [Fact]
    public void FindFault_counts_the_sessions_that_could_be_open()
    {
        Assert.Contains("running, pooled and kept sandboxes", DescriptorLimit.FindFault(ManySessions, new BoxerHttpOptions()), StringComparison.Ordinal);
        Assert.Null(DescriptorLimit.FindFault(ManySessions, new BoxerHttpOptions { AllowSessions = false }));

        BoxerOptions few = new() { MaxConcurrentRuns = 1, Pool = new() { Enabled = false }, MaxMemoryBytes = 1_000 * ByteSize.TiB };
        few.Sessions.MaxMemoryBytes = 64 * ByteSize.MiB;
        Assert.Null(DescriptorLimit.FindFault(few, new BoxerHttpOptions()));
    }

    [Fact]
    public void Of_counts_sessions_of_the_least_memory()
    {
        BoxerOptions options = new() { MaxMemoryBytes = 2_112 * ByteSize.MiB, PullMemoryBytes = 64 * ByteSize.MiB };

        Assert.Equal(32, SandboxCounts.Of(options).Sessions);
        options.Sessions.MaxMemoryBytes = 320 * ByteSize.MiB;
        Assert.Equal(10, SandboxCounts.Of(options).Sessions);
    }
}
