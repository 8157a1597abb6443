using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>The judge sample with as many submissions as a contest has.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class JudgeProgramTests(PythonImage image)
{
    [Fact]
    public Task Of_500_submissions_beside_two_busy_loops_each_gets_the_right_verdict() => JudgeSample.AssertVerdictsAsync(image, submissions: 500);
}
