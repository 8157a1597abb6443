using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

/// <summary>Claims of directories, and every state in which a killed process can leave them.</summary>
public sealed class ClaimedDirectoryTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    private string Parent => _scratch.Path;

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Create_makes_a_private_directory_that_nobody_else_can_claim()
    {
        using ClaimedDirectory claimed = ClaimedDirectory.Create(Parent, () => "one");

        Assert.Equal(("one", Path.Join(Parent, "one")), (claimed.Name, claimed.Path));
        Assert.Equal(PrivateDirectory.Mode, File.GetUnixFileMode(claimed.Path));
        Assert.True(ClaimedDirectory.IsAlive(Parent, "one"));
        Assert.Null(ClaimedDirectory.TryClaim(Parent, "one"));
        Assert.Equal(["one"], ClaimedDirectory.FindNames(Parent));
    }

    [Fact]
    public void Forget_after_removal_leaves_nothing()
    {
        using (ClaimedDirectory claimed = ClaimedDirectory.Create(Parent, () => "one"))
        {
            Directory.Delete(claimed.Path);
            claimed.Forget();
        }

        Assert.False(ClaimedDirectory.IsAlive(Parent, "one"));
        Assert.Empty(Directory.GetFileSystemEntries(Parent));
    }

    // A dispose stands for the end of the process: it releases the lock and keeps the file and the directory.
    [Theory]
    [InlineData("after the lock file was made")]
    [InlineData("after the directory was made")]
    [InlineData("while it was filled")]
    [InlineData("while it was removed")]
    [InlineData("before the lock file was removed")]
    public void TryClaim_claims_leftovers_of_a_killed_process_once(string killed)
    {
        using (ClaimedDirectory dead = ClaimedDirectory.Create(Parent, () => "dead"))
        {
            if (killed == "while it was filled")
            {
                Directory.CreateDirectory(Path.Join(dead.Path, "a", "b"));
            }
            else if (killed != "after the directory was made")
            {
                Directory.Delete(dead.Path);
            }
        }

        Assert.False(ClaimedDirectory.IsAlive(Parent, "dead"));
        string name = Assert.Single(ClaimedDirectory.FindNames(Parent));
        using (ClaimedDirectory? claimed = ClaimedDirectory.TryClaim(Parent, name))
        {
            Assert.NotNull(claimed);
            Assert.Null(ClaimedDirectory.TryClaim(Parent, name));
            TreeRemover.Remove(claimed.Path);
            claimed.Forget();
        }

        Assert.Null(ClaimedDirectory.TryClaim(Parent, name));
        Assert.Empty(Directory.GetFileSystemEntries(Parent));
    }

    [Fact]
    public void Create_does_not_use_or_change_an_existing_name()
    {
        string outside = Directory.CreateDirectory(Path.Join(Parent, "outside")).FullName;
        Directory.CreateDirectory(Path.Join(Parent, "directory"));
        Directory.CreateSymbolicLink(Path.Join(Parent, "link"), outside);
        File.CreateSymbolicLink(Path.Join(Parent, "locklink.lock"), Path.Join(outside, "made"));
        using ClaimedDirectory other = ClaimedDirectory.Create(Parent, () => "claimed");
        var names = new Queue<string>(["directory", "link", "locklink", "claimed", "free"]);

        using ClaimedDirectory claimed = ClaimedDirectory.Create(Parent, names.Dequeue);

        Assert.Equal("free", claimed.Name);
        Assert.Empty(Directory.GetFileSystemEntries(outside));
        Assert.True(Directory.Exists(Path.Join(Parent, "directory")));
        Assert.Equal(
            ["claimed", "claimed.lock", "directory", "free", "free.lock", "link", "locklink.lock", "outside"],
            Directory.GetFileSystemEntries(Parent).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void TryClaim_does_not_follow_a_lock_file_that_is_a_link()
    {
        string outside = Path.Join(Parent, "outside");
        File.WriteAllText(outside, "kept");
        File.CreateSymbolicLink(Path.Join(Parent, "link.lock"), outside);

        Assert.Throws<NativeException>(() => ClaimedDirectory.TryClaim(Parent, "link"));
        Assert.Equal("kept", File.ReadAllText(outside));
    }

    [Fact]
    public void TryClaim_fails_if_the_lock_file_was_removed_before_the_lock()
    {
        string path = Path.Join(Parent, "a.lock");
        using FileLock held = FileLock.TryCreate(path)!;
        Assert.True(held.IsInPlace);

        File.Delete(path);
        Assert.False(held.IsInPlace);

        using FileLock other = FileLock.TryCreate(path)!;
        Assert.False(held.IsInPlace);
        Assert.True(other.IsInPlace);
    }

    [Fact]
    public void Create_leaves_nothing_if_it_fails()
    {
        string missing = Path.Join(Parent, "missing");
        Assert.Throws<NativeException>(() => ClaimedDirectory.Create(missing, () => "one"));
        Assert.Empty(Directory.GetFileSystemEntries(Parent));
    }

    [Fact]
    public async Task Create_and_TryClaim_never_share_a_directory_under_concurrency()
    {
        int claims = 0;
        await Parallel.ForEachAsync(Enumerable.Range(0, 16), TestContext.Current.CancellationToken, (worker, _) =>
        {
            for (int i = 0; i < 50; i++)
            {
                // Few names, so that claimants collide.
                using (ClaimedDirectory claimed = ClaimedDirectory.Create(Parent, () => Random.Shared.Next(4).ToString(null, null) + worker % 4))
                {
                    string mine = Path.Join(claimed.Path, "mine");
                    File.WriteAllText(mine, worker.ToString(null, null));
                    Assert.Single(Directory.GetFileSystemEntries(claimed.Path));
                    Interlocked.Increment(ref claims);
                    if (i % 2 == 0)
                    {
                        TreeRemover.Remove(claimed.Path);
                        claimed.Forget();
                    }
                }

                foreach (string name in ClaimedDirectory.FindNames(Parent))
                {
                    using ClaimedDirectory? dead = ClaimedDirectory.TryClaim(Parent, name);
                    if (dead is not null)
                    {
                        TreeRemover.Remove(dead.Path);
                        dead.Forget();
                    }
                }
            }

            return ValueTask.CompletedTask;
        });

        Assert.Equal(800, claims);
        Assert.Empty(Directory.GetFileSystemEntries(Parent));
    }
}
