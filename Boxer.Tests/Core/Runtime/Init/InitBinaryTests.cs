using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

public sealed class InitBinaryTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-init-binary-").FullName;

    [Fact]
    public void Find_returns_the_program_that_the_build_puts_beside_this_assembly()
    {
        string found = InitBinary.Find();
        Assert.StartsWith(AppContext.BaseDirectory, found, StringComparison.Ordinal);
        Assert.Equal("\u007fELF"u8.ToArray(), File.ReadAllBytes(found)[..4]);
    }

    [Fact]
    public async Task InstallAsync_makes_one_executable_copy()
    {
        string source = Source("content");
        string first = await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);
        DateTime written = File.GetLastWriteTimeUtc(first);
        string second = await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);

        Assert.Equal(first, second);
        Assert.Equal(written, File.GetLastWriteTimeUtc(second));
        Assert.Equal("content", await File.ReadAllTextAsync(first, TestContext.Current.CancellationToken));
        Assert.Equal("-rwxr-xr-x", Mode(first));
        // SHA-256 of "content", its first 16 digits.
        Assert.Equal(Path.Combine(_directory, "bin", "ed7002b439e9ac84", "boxer-init"), first);
    }

    [Fact]
    public async Task InstallAsync_replaces_a_changed_copy()
    {
        string source = Source("content");
        string copy = await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(copy, "evil", TestContext.Current.CancellationToken);
        await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);
        Assert.Equal("content", await File.ReadAllTextAsync(copy, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task InstallAsync_replaces_a_link_and_a_copy_without_permission()
    {
        string source = Source("content");
        string copy = await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);
        File.SetUnixFileMode(copy, UnixFileMode.UserRead);
        await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);
        Assert.Equal("-rwxr-xr-x", Mode(copy));

        File.Delete(copy);
        File.CreateSymbolicLink(copy, source);
        await InitBinary.InstallAsync(source, _directory, TestContext.Current.CancellationToken);
        Assert.Null(new FileInfo(copy).LinkTarget);
        Assert.Equal([copy], Directory.GetFiles(Path.GetDirectoryName(copy)!));
    }

    [Fact]
    public async Task InstallAsync_concurrently_leaves_one_file()
    {
        string source = Source(new string('x', 100_000));
        string[] copies = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => InitBinary.InstallAsync(source, _directory, CancellationToken.None)));
        Assert.Single(copies.Distinct());
        Assert.Equal([copies[0]], Directory.GetFiles(Path.GetDirectoryName(copies[0])!));
    }

    [Fact]
    public async Task Sweep_removes_old_unfinished_copies_and_keeps_young_ones()
    {
        string copy = await InitBinary.InstallAsync(Source("content"), _directory, TestContext.Current.CancellationToken);
        string left = Path.Combine(Path.GetDirectoryName(copy)!, ".boxer-init.0123");
        await File.WriteAllTextAsync(left, "half", TestContext.Current.CancellationToken);
        InitBinary.Sweep(_directory, TimeProvider.System);
        Assert.True(File.Exists(left));

        File.SetLastWriteTimeUtc(left, TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(-2));
        InitBinary.Sweep(_directory, TimeProvider.System);

        Assert.Equal([copy], Directory.GetFiles(Path.GetDirectoryName(copy)!));
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static string Mode(string path) => File.GetUnixFileMode(path)
        == (UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute
            | UnixFileMode.OtherRead | UnixFileMode.OtherExecute)
        ? "-rwxr-xr-x"
        : File.GetUnixFileMode(path).ToString();

    private string Source(string content)
    {
        string path = Path.Combine(_directory, "source");
        File.WriteAllText(path, content);
        return path;
    }
}
