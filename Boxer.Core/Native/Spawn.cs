using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>spawn.h.</summary>
internal static unsafe partial class Spawn
{
    /// <summary>Size to allocate for a posix_spawn_file_actions_t, in bytes. The type has 80 bytes in glibc (64 bit) and in musl.</summary>
    public const int SizeOfPosixSpawnFileActions = 256;

    /// <summary>posix_spawn(3). Returns the error number; does not set errno.</summary>
    [LibraryImport("libc")]
    public static partial int posix_spawn(out int pid, byte* path, void* fileActions, void* attributes, byte** argv, byte** envp);

    [LibraryImport("libc")]
    public static partial int posix_spawn_file_actions_init(void* fileActions);

    [LibraryImport("libc")]
    public static partial int posix_spawn_file_actions_destroy(void* fileActions);

    /// <summary>Passes <paramref name="fd"/> to the child as <paramref name="newFd"/>, without FD_CLOEXEC, even if both are equal.</summary>
    [LibraryImport("libc")]
    public static partial int posix_spawn_file_actions_adddup2(void* fileActions, int fd, int newFd);
}
