using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Cli;

/// <summary>
/// The terminal on standard input. In raw mode, keys reach the command in the sandbox at once, also Ctrl+C. Disposing it restores the terminal.
/// </summary>
internal sealed class LocalTerminal : IDisposable
{
    private const int StandardInput = 0;
    private const int StandardOutput = 1;
    private const int Drain = 1;
    private const nuint GetSize = 0x5413;

    // Larger than struct termios of every C library.
    private const int TermiosSize = 256;
    private readonly byte[] _before = new byte[TermiosSize];
    private bool _isRaw;

    /// <summary>Remembers the settings of the terminal.</summary>
    /// <exception cref="FormatException">Standard input is not a terminal.</exception>
    internal LocalTerminal()
    {
        if (tcgetattr(StandardInput, _before) != 0)
        {
            throw new FormatException("-t: standard input is not a terminal.");
        }
    }

    /// <summary>Gets the size of the terminal on standard output; 80 times 24 if there is none or it has no size.</summary>
    /// <remarks>The properties of <see cref="Console"/> would also write to the terminal and change what its keys send.</remarks>
    internal static (int Columns, int Rows) Size
    {
        get
        {
            ushort[] size = new ushort[4];
            return ioctl(StandardOutput, GetSize, size) == 0 && size is [> 0, > 0, ..] ? (size[1], size[0]) : (80, 24);
        }
    }

    /// <summary>Opens standard input for reading single keys.</summary>
    /// <remarks>The stream of <see cref="Console"/> reads a terminal by lines, echoes what is typed, and switches the terminal back.</remarks>
    internal static Stream OpenInput() => new FileStream(new SafeFileHandle(StandardInput, ownsHandle: false), FileAccess.Read, bufferSize: 0);

    /// <summary>Adds this terminal's kind to the variables of a command, unless they have one.</summary>
    /// <param name="tryAdd">Adds a variable that is not set yet.</param>
    internal static void AddKind(Func<string, string, bool> tryAdd)
    {
        if (Environment.GetEnvironmentVariable("TERM") is { Length: > 0 } kind)
        {
            tryAdd("TERM", kind);
        }
    }

    /// <summary>Switches to raw mode.</summary>
    internal void MakeRaw()
    {
        byte[] raw = [.. _before];
        cfmakeraw(raw);
        Set(raw);
        _isRaw = true;
    }

    public void Dispose()
    {
        if (_isRaw)
        {
            _isRaw = false;
            Set(_before);
        }
    }

    private static void Set(byte[] settings)
    {
        if (tcsetattr(StandardInput, Drain, settings) != 0)
        {
            throw new IOException($"The terminal cannot be switched: {Marshal.GetLastPInvokeErrorMessage()}.");
        }
    }

#pragma warning disable IDE1006, SYSLIB1054 // Names of the C library. Generated code would be unsafe.
    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int tcgetattr(int descriptor, [Out] byte[] settings);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int tcsetattr(int descriptor, int when, [In] byte[] settings);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int ioctl(int descriptor, nuint request, [Out] ushort[] size);

    [DllImport("libc"), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern void cfmakeraw([In, Out] byte[] settings);
#pragma warning restore IDE1006, SYSLIB1054
}
