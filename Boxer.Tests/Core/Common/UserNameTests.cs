using Boxer.Common;
using CsCheck;
using static Boxer.Tests.Support.Generators;

namespace Boxer.Tests.Core.Common;

/// <summary>Users in the notation of requests and images.</summary>
public sealed class UserNameTests
{
    [Theory]
    [InlineData("app", "app", null, null, null)]
    [InlineData("1000", "1000", 1000u, null, null)]
    [InlineData("0123:staff", "0123", 123u, "staff", null)]
    [InlineData("app:50", "app", null, "50", 50u)]
    [InlineData("2147483647:2147483647", "2147483647", 2147483647u, "2147483647", 2147483647u)]
    [InlineData("1a:b1", "1a", null, "b1", null)]
    public void TryParse_distinguishes_names_and_ids(string text, string owner, uint? uid, string? group, uint? gid)
    {
        Assert.Equal(new UserName(text, owner, uid, group, gid), UserName.TryParse(text, out IReadOnlyList<(UserFault Fault, string Part)> faults));
        Assert.Empty(faults);
    }

    [Theory]
    [InlineData("", "Malformed")]
    [InlineData(":", "Malformed")]
    [InlineData("a:", "Malformed")]
    [InlineData("1:2:3", "Malformed")]
    [InlineData("a\nb", "Malformed")]
    [InlineData("a\0", "Nul")]
    [InlineData("2147483648", "IdTooLarge")]
    [InlineData("99999999999999999999:99999999999999999999", "IdTooLarge,IdTooLarge")]
    [InlineData("-1", "Negative")]
    [InlineData("-1:\0:4294967295", "Malformed,Nul,IdTooLarge,Negative")]
    public void TryParse_finds_every_fault(string text, string expected)
    {
        Assert.Null(UserName.TryParse(text, out IReadOnlyList<(UserFault Fault, string Part)> faults));
        Assert.Equal(expected, string.Join(',', faults.Select(fault => fault.Fault)));
    }

    [Fact]
    public void TryParse_rejects_half_of_a_surrogate_pair()
    {
        Assert.Null(UserName.TryParse("a\uD800", out IReadOnlyList<(UserFault Fault, string Part)> faults));
        Assert.Equal(UserFault.NotUnicode, Assert.Single(faults).Fault);
    }

    [Fact]
    public void TryParse_rejects_more_than_255_bytes()
    {
        Assert.NotNull(UserName.TryParse(new string('ä', 127), out _));
        Assert.Null(UserName.TryParse(new string('ä', 128), out IReadOnlyList<(UserFault Fault, string Part)> faults));
        Assert.Equal(UserFault.TooLong, Assert.Single(faults).Fault);
    }

    [Fact]
    public void TryParse_returns_a_user_or_a_fault_for_any_text() =>
        Gen.OneOf(Gen.String, Pick("a", "1", ":", "-", "\0", "\n", "2147483648", "\uD800").Array[0, 6].Select(string.Concat)).Sample(
            text =>
            {
                UserName? user = UserName.TryParse(text, out IReadOnlyList<(UserFault Fault, string Part)> faults);
                Assert.Equal(user is null, faults.Count > 0);
                Assert.All(faults, fault => Assert.Contains(fault.Part, text, StringComparison.Ordinal));
                if (user is not null)
                {
                    Assert.Equal(text, user.Group is null ? user.Owner : $"{user.Owner}:{user.Group}");
                    Assert.DoesNotContain(text, char.IsControl);
                    Assert.True(user.Uid is null or <= UserName.MaxId && user.Gid is null or <= UserName.MaxId);
                }
            },
            iter: 50_000);
}
