using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

/// <summary>Claims of directories, and every state that a killed process can leave.</summary>
public sealed class ClaimedDirectoryTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    private string Parent => _scratch.Path;

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_claimed_directory_is_private_and_nobody_else_can_claim_it()
    {
        using ClaimedDirectory claimed = ClaimedDirectory.Create(Parent, () => "one");

        Assert.Equal(("one", Path.Join(Parent, "one")), (claimed.Name, claimed.Path));
        Assert.Equal(PrivateDirectory.Mode, File.GetUnixFileMode(claimed.Path));
        Assert.True(ClaimedDirectory.IsAlive(Parent, "one"));
        Assert.Null(ClaimedDirectory.TryClaim(Parent, "one"));
        Assert.Equal(["one"], ClaimedDirectory.FindNames(Parent));
    }

    [Fact]
    public void A_directory_that_is_removed_and_forgotten_leaves_nothing()
    {
        using (ClaimedDirectory claimed = ClaimedDirectory.Create(Parent, () => "one"))
        {
            Directory.Delete(claimed.Path);
            claimed.Forget();
        }

        Assert.False(ClaimedDirectory.IsAlive(Parent, "one"));
        Assert.Empty(Directory.GetFileSystemEntries(Parent));
    }

    // The lock goes with the process, which here is a dispose: the file and the directory stay.
    [Theory]
    [InlineData("after the lock file was made")]
    [InlineData("after the directory was made")]
    [InlineData("while it was filled")]
    [InlineData("while it was removed")]
    [InlineData("before the lock file was removed")]
    public void Whatever_a_killed_process_left_is_claimed_once_and_removed(string killed)
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
    public void A_name_that_is_taken_in_any_way_is_not_used_and_stays_as_it_is()
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
    public void A_lock_file_that_is_a_link_is_not_followed_by_who_claims()
    {
        string outside = Path.Join(Parent, "outside");
        File.WriteAllText(outside, "kept");
        File.CreateSymbolicLink(Path.Join(Parent, "link.lock"), outside);

        Assert.Throws<NativeException>(() => ClaimedDirectory.TryClaim(Parent, "link"));
        Assert.Equal("kept", File.ReadAllText(outside));
    }

    [Fact]
    public void A_lock_file_that_was_removed_before_it_was_locked_is_no_claim()
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
    public void Nothing_is_left_where_it_cannot_be_made()
    {
        string missing = Path.Join(Parent, "missing");
        Assert.Throws<NativeException>(() => ClaimedDirectory.Create(missing, () => "one"));
        Assert.Empty(Directory.GetFileSystemEntries(Parent));
    }

    [Fact]
    public async Task Many_claimants_and_sweepers_never_share_a_directory()
    {
        int claims = 0;
        await Parallel.ForEachAsync(Enumerable.Range(0, 16), TestContext.Current.CancellationToken, (worker, _) =>
        {
            for (int i = 0; i < 50; i++)
            {
                // Few names, so that they meet.
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
