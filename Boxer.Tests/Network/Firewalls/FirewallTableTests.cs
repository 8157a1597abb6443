using System.Globalization;
using System.Net;
using Boxer.Network.Firewalls;

namespace Boxer.Tests.Network.Firewalls;

public sealed class FirewallTableTests
{
    [Fact]
    public void CreationScript_does_not_depend_on_the_culture_of_the_application()
    {
        CultureInfo before = CultureInfo.CurrentCulture;
        string expected = Script();
        try
        {
            // The minus sign of Swedish and others, which nft does not read.
            var culture = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            culture.NumberFormat.NegativeSign = "\u2212";
            CultureInfo.CurrentCulture = culture;

            Assert.Equal(expected, Script());
            Assert.True(expected.All(char.IsAscii));
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }

        static string Script() => FirewallTable.CreationScript("0123abcd", IPNetwork.Parse("fd00::/48"), [IPAddress.Parse("8.8.8.8"), IPAddress.Parse("2001:4860:4860::8888")]);
    }
}
