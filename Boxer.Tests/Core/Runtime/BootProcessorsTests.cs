using Boxer.Linux;
using Boxer.Runtime;

namespace Boxer.Tests.Core.Runtime;

public sealed class BootProcessorsTests
{
    private static readonly IReadOnlyList<int> Own = ProcessorAffinity.List(ProcessorAffinity.ReadOwn());

    [Fact]
    public void Take_of_all_processors_chooses_none()
    {
        var processors = new BootProcessors();
        Assert.Null(processors.Take(Own.Count));
        Assert.Null(processors.Take(Own.Count + 1));
    }

    [Fact]
    public void Boots_are_spread_over_the_processors()
    {
        Assert.SkipUnless(Own.Count > 1, "Needs two processors.");
        var processors = new BootProcessors();
        BootProcessors.Choice[] choices = [.. Own.Select(_ => processors.Take(1)!)];

        Assert.Equal(Own, choices.Select(choice => Assert.Single(choice.Numbers)).Order());
    }

    [Fact]
    public void A_processor_whose_boot_is_over_comes_before_one_that_boots_and_after_one_that_was_not_chosen()
    {
        Assert.SkipUnless(Own.Count > 1, "Needs two processors.");
        var processors = new BootProcessors();
        BootProcessors.Choice first = processors.Take(1)!;
        first.Dispose();
        first.Dispose();
        BootProcessors.Choice second = processors.Take(1)!;
        Assert.NotEqual(first.Numbers, second.Numbers);
        BootProcessors.Choice[] others = [.. Own.Skip(2).Select(_ => processors.Take(1)!)];

        Assert.Equal(first.Numbers, processors.Take(1)!.Numbers);
        Assert.Equal(Own.Count - 2, others.Length);
    }
}
