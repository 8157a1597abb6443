using System.Net;
using Boxer.Network.Links;
using Boxer.Network.Tools;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Network.Links;

/// <summary>Tests of <see cref="AddressPool"/> and <see cref="HostAddressRanges"/>.</summary>
public sealed class AddressPoolTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-pool-").FullName;
    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task AcquireAsync_never_returns_a_pair_of_another_instance()
    {
        using AddressPool one = Pool("10.231.0.0/23");
        using AddressPool two = Pool("10.231.0.0/23");
        AddressPair first = await TakeAsync(one);
        AddressPair second = await TakeAsync(two);

        Assert.Equal(("10.231.0.0", "10.231.0.1"), ($"{first.Host}", $"{first.Guest}"));
        Assert.Equal("10.231.1.0", $"{second.Host}");
    }

    [Fact]
    public async Task AcquireAsync_never_returns_a_pair_of_another_instance_with_another_block_size()
    {
        using AddressPool one = Pool("10.231.0.128/25");
        using AddressPool two = Pool("10.231.0.0/23");
        await TakeAsync(one);

        Assert.Equal("10.231.1.0", $"{(await TakeAsync(two)).Host}");
    }

    [Fact]
    public async Task AcquireAsync_uses_overlapping_blocks_once_and_reports_when_all_are_used()
    {
        using var pool = new AddressPool(
            _directory,
            [IPNetwork.Parse("10.231.0.0/31"), IPNetwork.Parse("10.231.0.2/31"), IPNetwork.Parse("10.231.0.0/24")],
            _ => Task.FromResult<IReadOnlyList<IPNetwork>>([]),
            _time);

        Assert.Equal("10.231.0.0", $"{(await TakeAsync(pool)).Host}");
        Assert.Equal("10.231.0.2", $"{(await TakeAsync(pool)).Host}");
        SandboxCapacityException none = await Assert.ThrowsAsync<SandboxCapacityException>(() => TakeAsync(pool));
        Assert.Contains("NetworkBlocks", none.Message, StringComparison.Ordinal);
        Assert.Equal("All sandbox addresses are in use or wait for reuse. Try again later.", none.PublicMessage);
    }

    [Fact]
    public async Task AcquireAsync_skips_parts_that_overlap_an_address_or_a_route()
    {
        using AddressPool pool = Pool("10.231.0.0/23", used: ["10.231.0.128/25"]);

        Assert.Equal("10.231.1.0", $"{(await TakeAsync(pool)).Host}");
    }

    [Fact]
    public async Task ReleaseAsync_delays_the_reuse_of_a_pair_with_traffic()
    {
        using AddressPool pool = Pool("10.231.0.0/30");
        AddressPair first = await TakeAsync(pool);
        await TakeAsync(pool);
        await pool.ReleaseAsync(first, hadTraffic: true);

        await Assert.ThrowsAsync<SandboxCapacityException>(() => TakeAsync(pool));
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(first, await TakeAsync(pool));
    }

    [Fact]
    public async Task ReleaseAsync_allows_the_reuse_of_a_pair_without_traffic_at_once()
    {
        using AddressPool pool = Pool("10.231.0.0/31");
        AddressPair pair = await TakeAsync(pool);
        await pool.ReleaseAsync(pair, hadTraffic: false);

        Assert.Equal(pair, await TakeAsync(pool));
    }

    [Fact]
    public void HostAddressRanges_Parse_leaves_out_default_and_refusing_routes()
    {
        IReadOnlyList<IPNetwork> used = HostAddressRanges.Parse(
            """[{"addr_info":[{"family":"inet","local":"192.0.2.9","prefixlen":24},{"family":"inet6","local":"::1","prefixlen":128}]},{}]""",
            """[{"dst":"default"},{"type":"blackhole","dst":"10.0.0.0/8"},{"type":"unreachable","dst":"172.16.0.0/12"},{"dst":"10.9.0.0/16"},{"type":"local","dst":"127.0.0.1"}]""");

        Assert.Equal(["192.0.2.0/24", "10.9.0.0/16", "127.0.0.1/32"], used.Select(network => network.ToString()));
    }

    private static Task<AddressPair> TakeAsync(AddressPool pool) => pool.AcquireAsync(_ => Task.CompletedTask, Cancel);

    private AddressPool Pool(string block, string[]? used = null) =>
        new(_directory, [IPNetwork.Parse(block)], _ => Task.FromResult<IReadOnlyList<IPNetwork>>([.. (used ?? []).Select(IPNetwork.Parse)]), _time);
}
