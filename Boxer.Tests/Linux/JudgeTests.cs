using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The judge among the samples; <see cref="Programs.JudgeProgramTests"/> has many more submissions.</summary>
[Collection(Sandboxes.Name)]
public sealed class JudgeTests(PythonImage image)
{
    [Fact]
    public Task Of_60_submissions_beside_two_busy_loops_each_gets_the_right_verdict() => JudgeSample.AssertVerdictsAsync(image, submissions: 60);
}
