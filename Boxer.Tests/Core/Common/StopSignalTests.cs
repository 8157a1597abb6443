using Boxer.Common;

namespace Boxer.Tests.Core.Common;

public sealed class StopSignalTests
{
    [Theory]
    [InlineData("", 15)]
    [InlineData("SIGTERM", 15)]
    [InlineData("TERM", 15)]
    [InlineData("sigquit", 3)]
    [InlineData("3", 3)]
    [InlineData("SIGKILL", 9)]
    [InlineData("SIGSYS", 31)]
    [InlineData("SIGRTMIN", 34)]
    [InlineData("SIGRTMIN+3", 37)]
    [InlineData("RTMAX-2", 62)]
    [InlineData("64", 64)]
    [InlineData("0", 15)]
    [InlineData("65", 15)]
    [InlineData("-1", 15)]
    [InlineData("SIG", 15)]
    [InlineData("SIGRTMIN+31", 15)]
    [InlineData("RTMAX-64", 15)]
    [InlineData("99999999999999", 15)]
    [InlineData("SIGNAL", 15)]
    [InlineData("TERM\n", 15)]
    public void Parse_returns_the_number_of_a_signal(string text, int number) => Assert.Equal(number, StopSignal.Parse(text));
}
