using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>spawn.h</summary>
internal static unsafe partial class Spawn
{
    /// <summary>Larger than posix_spawn_file_actions_t of glibc (80 bytes on 64 bit) and of musl (80).</summary>
    public const int SizeOfPosixSpawnFileActions = 256;

    /// <summary>posix_spawn(3). Returns the error number instead of setting errno.</summary>
    [LibraryImport("libc")]
    public static partial int posix_spawn(out int pid, byte* path, void* fileActions, void* attributes, byte** argv, byte** envp);

    [LibraryImport("libc")]
    public static partial int posix_spawn_file_actions_init(void* fileActions);

    [LibraryImport("libc")]
    public static partial int posix_spawn_file_actions_destroy(void* fileActions);

    /// <summary>Gives the child <paramref name="fd"/> as <paramref name="newFd"/>, without FD_CLOEXEC, also where both are the same.</summary>
    [LibraryImport("libc")]
    public static partial int posix_spawn_file_actions_adddup2(void* fileActions, int fd, int newFd);
}
