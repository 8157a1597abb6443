using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The judge among the samples; <see cref="Programs.JudgeProgramTests"/> has many more submissions.</summary>
[Collection(Sandboxes.Name)]
public sealed class JudgeTests(PythonImage image, SharedRunner shared)
{
    [Fact]
    public Task Each_of_60_submissions_gets_the_right_verdict_under_load() => JudgeSample.AssertVerdictsAsync(image, shared, submissions: 60);
}
