using System.Security.Cryptography;
using Boxer.Diagnostics;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// Remembers on disk which sessions were open and how they ended, so that the next runner of the same home can say so. Each runner appends to a file of
/// its own, in a directory that it claims while it lives. A runner that starts takes over the files of dead ones: their open sessions ended with them. It
/// also reads how sessions of living ones ended. A file that cannot be read or written is logged, and costs only the memory of old sessions.
/// Not thread-safe: the <see cref="SessionTable"/> has the lock.
/// </summary>
internal sealed class SessionLog : IDisposable
{
    /// <summary>Time for which ended sessions are remembered.</summary>
    internal static readonly TimeSpan Memory = TimeSpan.FromHours(1);

    /// <summary>Maximum number of ended sessions that are remembered.</summary>
    internal const int MaxEnded = 10_000;
    private const string FileName = "sessions";
    private const int MaxReadBytes = 64 << 20;
    private readonly string _directory;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Func<IEnumerable<RememberedSession>> _remembered;
    private readonly long _rotateBytes;
    private ClaimedDirectory? _claimed;
    private FileStream? _file;

    // Length after the last rotation, which the sessions took that are remembered.
    private long _rotatedLength;

    /// <param name="home">The home of the runner, a private directory.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Receives failures.</param>
    /// <param name="remembered">Gets the sessions of this runner that are remembered, open ones and ended ones, when the file is rewritten.</param>
    /// <param name="rotateBytes">Growth of the file, in bytes, after which it is rewritten without what is forgotten.</param>
    internal SessionLog(string home, TimeProvider time, ILogger logger, Func<IEnumerable<RememberedSession>> remembered, long rotateBytes = 4 << 20)
    {
        _directory = Path.Join(home, "sessions");
        _time = time;
        _logger = logger;
        _remembered = remembered;
        _rotateBytes = rotateBytes;
    }

    /// <summary>Opens the log and reads what earlier runners left.</summary>
    /// <returns>Ended sessions that are still remembered.</returns>
    internal IReadOnlyList<RememberedSession> Open()
    {
        List<ClaimedDirectory> dead = [];
        try
        {
            PrivateDirectory.Ensure(_directory);
            Dictionary<string, RememberedSession> found = new(StringComparer.Ordinal);
            foreach (string name in ClaimedDirectory.FindNames(_directory))
            {
                ReadOne(name, dead, found);
            }

            _claimed = ClaimedDirectory.Create(_directory, () => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4)));
            _file = Create(Path.Join(_claimed.Path, FileName));
            RememberedSession[] kept = [.. found.Values.OrderByDescending(session => session.EndedAt).Take(MaxEnded)];
            Rewrite(kept);
            foreach (ClaimedDirectory other in dead)
            {
                PrivateDirectory.DeleteTree(other.Path);
                other.Forget();
            }

            return kept;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or SandboxException)
        {
            Log.SessionLogFailed(_logger, _directory, exception);
            return [];
        }
        finally
        {
            dead.ForEach(other => other.Dispose());
        }
    }

    /// <summary>Appends the opening of a session.</summary>
    /// <param name="session">The session.</param>
    internal void AddOpened(RememberedSession session) => Append(SessionRecord.EncodeOpened(session));

    /// <summary>Appends the end of a session.</summary>
    /// <param name="session">The session.</param>
    internal void AddEnded(RememberedSession session) => Append(SessionRecord.EncodeEnded(session));

    /// <summary>Closes the file, which the next runner takes over.</summary>
    public void Dispose()
    {
        _file?.Dispose();
        _claimed?.Dispose();
        _file = null;
        _claimed = null;
    }

    private void ReadOne(string name, List<ClaimedDirectory> dead, Dictionary<string, RememberedSession> found)
    {
        ClaimedDirectory? claimed = ClaimedDirectory.TryClaim(_directory, name);
        if (claimed is not null)
        {
            dead.Add(claimed);
        }

        DateTimeOffset now = _time.GetUtcNow();
        foreach (RememberedSession session in SessionRecord.Read(ReadFile(Path.Join(_directory, name, FileName))).Values)
        {
            RememberedSession? ended = session.End is not null ? session
                : claimed is not null ? session with { End = SandboxSessionEnd.HostStopped, EndedAt = now }
                : null;
            if (ended is not null && now - ended.EndedAt < Memory)
            {
                found[ended.Id] = ended;
            }
        }
    }

    private byte[] ReadFile(string path)
    {
        try
        {
            // The tail, if it is longer than any file that was written here. Its first line is torn.
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            file.Position = Math.Max(0, file.Length - MaxReadBytes);
            var content = new byte[file.Length - file.Position];
            return content[..file.ReadAtLeast(content, content.Length, throwOnEndOfStream: false)];
        }
        catch (FileNotFoundException)
        {
            return [];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Log.SessionLogFailed(_logger, path, exception);
            return [];
        }
    }

    private void Append(byte[] line)
    {
        if (_file is null)
        {
            return;
        }

        try
        {
            Write(_file, line);
            if (_file.Position > (2 * _rotatedLength) + _rotateBytes)
            {
                Rewrite([.. _remembered()]);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Log.SessionLogFailed(_logger, _file.Name, exception);
        }
    }

    // A file at its final path is always complete.
    private void Rewrite(RememberedSession[] sessions)
    {
        string path = Path.Join(_claimed!.Path, FileName);
        FileStream next = Create(path + ".new");
        try
        {
            foreach (RememberedSession session in sessions)
            {
                next.Write(SessionRecord.EncodeOpened(session));
                if (session.End is not null)
                {
                    next.Write(SessionRecord.EncodeEnded(session));
                }
            }

            next.Flush();
            WholeFile.Commit(path + ".new", path, isDurable: false);
        }
        catch
        {
            next.Dispose();
            throw;
        }

        _file?.Dispose();
        _file = next;
        _rotatedLength = next.Position;
    }

    private static void Write(FileStream file, byte[] line)
    {
        file.Write(line);
        file.Flush();
    }

    private static FileStream Create(string path) => new(path, new FileStreamOptions
    {
        Mode = FileMode.Create,
        Access = FileAccess.Write,
        Share = FileShare.ReadWrite | FileShare.Delete,
        UnixCreateMode = PrivateDirectory.FileMode,
    });
}
