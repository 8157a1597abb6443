using Boxer.Runtime;

namespace Boxer.Tests.Core.Runtime;

public sealed class CommandPlannerTests
{
    [Fact]
    public void ToPages_rounds_up_and_leaves_whole_pages()
    {
        long page = Environment.SystemPageSize;

        Assert.Equal(
            [page, page, 2 * page, 256 * ByteSize.MiB, ByteSize.TiB],
            new[] { 1, page, page + 1, 256 * ByteSize.MiB, ByteSize.TiB }.Select(CommandPlanner.ToPages));
    }
}
