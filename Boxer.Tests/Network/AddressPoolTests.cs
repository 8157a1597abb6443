using System.Net;
using Boxer.Network;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Network;

public sealed class AddressPoolTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-pool-").FullName;
    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Two_instances_never_give_the_same()
    {
        using AddressPool one = Pool("10.231.0.0/23");
        using AddressPool two = Pool("10.231.0.0/23");
        AddressPair first = await TakeAsync(one);
        AddressPair second = await TakeAsync(two);

        Assert.Equal(("10.231.0.0", "10.231.0.1"), ($"{first.Host}", $"{first.Guest}"));
        Assert.Equal("10.231.1.0", $"{second.Host}");
    }

    [Fact]
    public async Task Two_instances_with_blocks_of_different_sizes_never_give_the_same()
    {
        using AddressPool one = Pool("10.231.0.128/25");
        using AddressPool two = Pool("10.231.0.0/23");
        await TakeAsync(one);

        Assert.Equal("10.231.1.0", $"{(await TakeAsync(two)).Host}");
    }

    [Fact]
    public async Task Blocks_may_be_parts_of_one_another()
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
        Assert.Equal("All addresses for sandboxes are in use or rest: try again later.", none.PublicMessage);
    }

    [Fact]
    public async Task What_overlaps_an_address_or_a_route_is_passed_over()
    {
        using AddressPool pool = Pool("10.231.0.0/23", used: ["10.231.0.128/25"]);

        Assert.Equal("10.231.1.0", $"{(await TakeAsync(pool)).Host}");
    }

    [Fact]
    public async Task An_address_rests_before_it_is_given_again()
    {
        using AddressPool pool = Pool("10.231.0.0/30");
        AddressPair first = await TakeAsync(pool);
        await TakeAsync(pool);
        await pool.GiveBackAsync(first, wasOpen: true);

        await Assert.ThrowsAsync<SandboxCapacityException>(() => TakeAsync(pool));
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(first, await TakeAsync(pool));
    }

    [Fact]
    public async Task An_address_that_nothing_passed_is_given_again_at_once()
    {
        using AddressPool pool = Pool("10.231.0.0/31");
        AddressPair pair = await TakeAsync(pool);
        await pool.GiveBackAsync(pair, wasOpen: false);

        Assert.Equal(pair, await TakeAsync(pool));
    }

    [Fact]
    public void Default_and_refusing_routes_are_no_conflict()
    {
        IReadOnlyList<IPNetwork> used = HostNetworks.Parse(
            """[{"addr_info":[{"family":"inet","local":"192.0.2.9","prefixlen":24},{"family":"inet6","local":"::1","prefixlen":128}]},{}]""",
            """[{"dst":"default"},{"type":"blackhole","dst":"10.0.0.0/8"},{"type":"unreachable","dst":"172.16.0.0/12"},{"dst":"10.9.0.0/16"},{"type":"local","dst":"127.0.0.1"}]""");

        Assert.Equal(["192.0.2.0/24", "10.9.0.0/16", "127.0.0.1/32"], used.Select(network => network.ToString()));
    }

    private static Task<AddressPair> TakeAsync(AddressPool pool) => pool.TakeAsync(_ => Task.CompletedTask, Cancel);

    private AddressPool Pool(string block, string[]? used = null) =>
        new(_directory, [IPNetwork.Parse(block)], _ => Task.FromResult<IReadOnlyList<IPNetwork>>([.. (used ?? []).Select(IPNetwork.Parse)]), _time);
}
