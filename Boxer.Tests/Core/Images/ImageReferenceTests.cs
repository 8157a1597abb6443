using Boxer.Images;

namespace Boxer.Tests.Core.Images;

public sealed class ImageReferenceTests
{
    private const string Digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    [Theory]
    [InlineData("python:3.12-slim", "docker.io", "library/python", "3.12-slim", null)]
    [InlineData("python", "docker.io", "library/python", "latest", null)]
    [InlineData("bitnami/redis", "docker.io", "bitnami/redis", "latest", null)]
    [InlineData("docker.io/python", "docker.io", "library/python", "latest", null)]
    [InlineData("docker.io/library/python", "docker.io", "library/python", "latest", null)]
    [InlineData("index.docker.io/python", "docker.io", "library/python", "latest", null)]
    [InlineData("python@" + Digest, "docker.io", "library/python", null, Digest)]
    [InlineData("python:3@" + Digest, "docker.io", "library/python", "3", Digest)]
    [InlineData("localhost/a", "localhost", "a", "latest", null)]
    [InlineData("localhost:5000/a/b@" + Digest, "localhost:5000", "a/b", null, Digest)]
    [InlineData("registry.example/a", "registry.example", "a", "latest", null)]
    [InlineData("host:5000/a:b", "host:5000", "a", "b", null)]
    [InlineData("HOST/a", "HOST", "a", "latest", null)]
    [InlineData("host/a", "docker.io", "host/a", "latest", null)]
    [InlineData("[::1]:5000/a", "[::1]:5000", "a", "latest", null)]
    [InlineData("127.0.0.1:5000/a__b/c-d/e---f/g.h_i", "127.0.0.1:5000", "a__b/c-d/e---f/g.h_i", "latest", null)]
    [InlineData("a:_tag.x-Y", "docker.io", "library/a", "_tag.x-Y", null)]
    public void Parse_accepts_references_that_Docker_accepts(string text, string registry, string repository, string? tag, string? digest)
    {
        ImageReference reference = ImageReference.Parse(text);

        Assert.Equal((registry, repository, tag, digest), (reference.Registry, reference.Repository, reference.Tag, reference.Digest));
        Assert.Equal(reference, ImageReference.Parse(reference.ToString()));
    }

    [Theory]
    [InlineData("", "is empty")]
    [InlineData("Python", "must be lower-case")]
    [InlineData("example.com/Python", "must be lower-case")]
    [InlineData("a:", "a tag has")]
    [InlineData("a:.b", "a tag has")]
    [InlineData("a:b c", "a tag has")]
    [InlineData("a@sha256:12", "must be a digest")]
    [InlineData("a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", "must be a digest")]
    [InlineData("a@md5:0123456789abcdef0123456789abcdef", "must be a digest")]
    [InlineData("a@" + Digest + "@" + Digest, "must be a digest")]
    [InlineData("a//b", "a repository is made of")]
    [InlineData("/a", "a repository is made of")]
    [InlineData("a/", "a repository is made of")]
    [InlineData("a/../b", "a repository is made of")]
    [InlineData("../a", "not a host")]
    [InlineData("a___b", "a repository is made of")]
    [InlineData("-a", "a repository is made of")]
    [InlineData("a.", "a repository is made of")]
    [InlineData("a\n", "a repository is made of")]
    [InlineData("a\0b", "a repository is made of")]
    [InlineData("ex\u00e4mple.com/a", "not a host")]
    [InlineData("-host.x/a", "not a host")]
    [InlineData("host:port/a", "not a host")]
    [InlineData("http://host/a", "not a host")]
    [InlineData("user@host/a", "must be a digest")]
    [InlineData("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "image id")]
    public void Parse_rejects_references_that_Docker_rejects(string text, string message)
    {
        Assert.False(ImageReference.TryParse(text, out _, out string? fault));
        Assert.Contains(message, fault, StringComparison.Ordinal);
        Assert.DoesNotContain(fault, c => char.IsControl(c));
        Assert.Equal(fault, Assert.Throws<FormatException>(() => ImageReference.Parse(text)).Message);
    }

    [Fact]
    public void Parse_bounds_lengths_as_Docker_does()
    {
        Assert.True(ImageReference.TryParse("h.x/" + new string('a', 255), out _));
        Assert.False(ImageReference.TryParse("h.x/" + new string('a', 256), out _));
        Assert.True(ImageReference.TryParse("a:" + new string('t', 128), out _));
        Assert.False(ImageReference.TryParse("a:" + new string('t', 129), out _));
        Assert.False(ImageReference.TryParse(new string('h', 300) + ".x/a", out _));
        Assert.False(ImageReference.TryParse(null, out _));
    }
}
