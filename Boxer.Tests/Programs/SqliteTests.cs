using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>SQLite with a write-ahead log works in every writable directory. Its writers share mapped memory and file locks.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class SqliteTests(SharedRunner shared)
{
    // Four writers in each directory. Each line has the journal mode, the exit codes of the writers, and the content of the table.
    private const string Program = """
        import os, sqlite3, sys

        def write(path, writer):
            database = sqlite3.connect(path, timeout=60, isolation_level=None)
            for i in range(250):
                database.execute("begin immediate")
                database.execute("insert into lines values (?, ?)", (writer, i))
                database.execute("commit")

        def fork(path, writer):
            child = os.fork()
            if child == 0:
                try:
                    write(path, writer)
                    os._exit(0)
                except Exception as fault:
                    print(path, writer, fault, flush=True)
                    os._exit(1)
            return child

        for place in sys.argv[1:]:
            place = os.path.expandvars(place)
            os.makedirs(place, exist_ok=True)
            path = os.path.join(place, "database")
            database = sqlite3.connect(path)
            mode = database.execute("pragma journal_mode=wal").fetchone()[0]
            database.execute("create table lines (writer, i, unique (writer, i))")
            database.close()
            writers = [fork(path, writer) for writer in range(4)]
            ends = {os.waitpid(writer, 0)[1] for writer in writers}
            database = sqlite3.connect(path)
            print(place, mode, ends, database.execute("pragma integrity_check").fetchall(), database.execute("select count(*), sum(i) from lines").fetchone())
        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("0", true)]
    [InlineData("12345", false)]
    [InlineData("12345", true)]
    [InlineData("65534", false)]
    [InlineData("65534", true)]
    public async Task Four_writers_lose_nothing_in_any_writable_directory(string user, bool pooled)
    {
        string[] places = ["/tmp", "/dev/shm", "/output", "/work", ".", .. user == "0" ? (string[])["/made/below"] : []];
        SandboxRequest request = SharedRunner.Command(["python3", "-c", Program, .. places]);
        (request.User, request.WorkingDirectory, request.Environment["HOME"], request.OutputFiles) = (user, "/tmp/started", "/work", OutputFilePolicy.Discard);
        request.Limits.WallClock = TimeSpan.FromMinutes(5);

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal((string.Concat(places.Select(place => place + " wal {0} [('ok',)] (1000, 124500)\n")), "", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }
}
