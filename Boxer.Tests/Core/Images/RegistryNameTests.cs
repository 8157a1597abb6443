using Boxer.Images;

namespace Boxer.Tests.Core.Images;

/// <summary>Names of registries in references, options and credentials.</summary>
public sealed class RegistryNameTests
{
    [Theory]
    [InlineData("ghcr.io", true)]
    [InlineData("127.0.0.1:5000", true)]
    [InlineData("[::1]:5000", true)]
    [InlineData("localhost", true)]
    [InlineData(null, false)]
    [InlineData("", false)]
    [InlineData(" ", false)]
    [InlineData("ghcr.io/", false)]
    [InlineData("https://ghcr.io", false)]
    [InlineData("user@ghcr.io", false)]
    [InlineData("ghcr\t.io", false)]
    [InlineData("ghcr.io:port", false)]
    [InlineData("ghcr.io:70000", false)]
    [InlineData("ghcr.io?x", false)]
    public void IsValid_accepts_hosts_with_and_without_a_port(string? text, bool isValid) => Assert.Equal(isValid, RegistryName.IsValid(text));

    [Theory]
    [InlineData("docker.io", "docker.io", "registry-1.docker.io")]
    [InlineData("index.docker.io", "docker.io", "registry-1.docker.io")]
    [InlineData("ghcr.io", "ghcr.io", "ghcr.io")]
    [InlineData("localhost:5000", "localhost:5000", "localhost:5000")]
    public void Docker_Hub_is_one_registry_under_several_names(string text, string canonical, string host)
    {
        Assert.Equal((canonical, host), (RegistryName.Canonical(text), RegistryName.HostOf(text)));
        Assert.Equal(canonical, ImageReference.Parse(text + "/team/app").Registry);
    }

    [Fact]
    public void Credentials_are_looked_up_under_each_name()
    {
        Assert.Equal(["https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", "docker.io"], RegistryName.CredentialNames("docker.io"));
        Assert.Equal(["ghcr.io"], RegistryName.CredentialNames("ghcr.io"));
    }

    [Theory]
    [InlineData("http://127.0.0.1:5000", "http://127.0.0.1:5000/")]
    [InlineData("https://mirror.example/a/b//", "https://mirror.example/a/b/")]
    [InlineData("https://docker.io", "https://registry-1.docker.io/")]
    [InlineData("https://index.docker.io/", "https://registry-1.docker.io/")]
    [InlineData("http://docker.io", "http://docker.io/")]
    [InlineData("https://docker.io:444", "https://docker.io:444/")]
    [InlineData("ftp://mirror.example", null)]
    [InlineData("https://user@mirror.example", null)]
    [InlineData("https://mirror.example?x", null)]
    [InlineData("https://mirror.example#x", null)]
    [InlineData("mirror.example", null)]
    [InlineData("", null)]
    [InlineData(null, null)]
    public void TryParseMirror_accepts_plain_URLs(string? text, string? expected)
    {
        Assert.Equal(expected is not null, RegistryName.TryParseMirror(text, out Uri? address));
        Assert.Equal(expected, address?.AbsoluteUri);
    }
}
