using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>The judge sample with as many submissions as a contest has.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class JudgeProgramTests(PythonImage image, SharedRunner shared)
{
    [Fact]
    public Task Each_of_500_submissions_gets_the_right_verdict_under_load() => JudgeSample.AssertVerdictsAsync(image, shared, submissions: 500);
}
