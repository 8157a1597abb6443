using System.Runtime.InteropServices;

namespace Boxer.Cli.Server;

/// <summary>
/// Switches the terminal on standard input to raw mode: keys reach the process in the session at once, also Ctrl+C. Disposing it restores the
/// terminal.
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

    /// <summary>Switches to raw mode.</summary>
    /// <exception cref="FormatException">Standard input is not a terminal.</exception>
    internal LocalTerminal()
    {
        if (tcgetattr(StandardInput, _before) != 0)
        {
            throw new FormatException("-t: standard input is not a terminal.");
        }

        byte[] raw = [.. _before];
        cfmakeraw(raw);
        Set(raw);
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

    public void Dispose() => Set(_before);

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
