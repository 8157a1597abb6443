using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>A command of any user opens its standard streams by their names.</summary>
[Collection(Sandboxes.Name)]
public sealed class StandardStreamsTests(SharedRunner shared)
{
    private const string Script = """
        cat /dev/stdin
        echo one >/dev/stdout
        echo two >/dev/stderr
        echo three | tee /dev/fd/2
        echo four >/proc/self/fd/1
        echo five >>/proc/self/fd/2
        python3 -c "open('/dev/stdout', 'w').write('six\n'); open('/dev/stderr', 'a').write('seven\n')"
        sh -c 'echo eight >/dev/stdout' | cat
        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("12345", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("12345", true)]
    [InlineData("65534", true)]
    public async Task Standard_streams_open_by_name(string user, bool pooled)
    {
        SandboxRequest request = Shell(Script);
        (request.User, request.StandardInput) = (user, "given\n"u8.ToArray());

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal(("given\none\nthree\nfour\nsix\neight\n", "two\nthree\nfive\nseven\n", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }
}
