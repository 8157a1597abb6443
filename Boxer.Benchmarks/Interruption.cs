using System.Runtime.InteropServices;

namespace Boxer.Benchmarks;

/// <summary>Ends the benchmarks between two runs on SIGINT or SIGTERM, so that their resources are released.</summary>
internal sealed class Interruption : IDisposable
{
    private static readonly CancellationTokenSource Requested = new();

    private readonly PosixSignalRegistration[] _registrations = [.. ((PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM]).Select(signal => PosixSignalRegistration.Create(signal, context =>
    {
        // A second signal ends the process.
        context.Cancel = !IsRequested;
        Requested.Cancel();
    }))];

    /// <summary>Whether a signal was received.</summary>
    internal static bool IsRequested => Requested.IsCancellationRequested;

    /// <summary>Throws if a signal was received.</summary>
    /// <exception cref="OperationCanceledException">A signal was received.</exception>
    internal static void ThrowIfRequested() => Requested.Token.ThrowIfCancellationRequested();

    public void Dispose() => Array.ForEach(_registrations, registration => registration.Dispose());
}
