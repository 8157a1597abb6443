using System.Runtime.InteropServices;

namespace Boxer.Benchmarks;

/// <summary>SIGINT and SIGTERM end the measuring between two runs, so that what was made is taken down.</summary>
internal sealed class Interruption : IDisposable
{
    private static readonly CancellationTokenSource Asked = new();

    private readonly PosixSignalRegistration[] _registrations = [.. ((PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM]).Select(signal => PosixSignalRegistration.Create(signal, context =>
    {
        // The second one ends the process.
        context.Cancel = !IsAsked;
        Asked.Cancel();
    }))];

    /// <summary>Whether it was asked for.</summary>
    internal static bool IsAsked => Asked.IsCancellationRequested;

    /// <summary>Ends the measuring if it is to end.</summary>
    /// <exception cref="OperationCanceledException">It is.</exception>
    internal static void ThrowIfAsked() => Asked.Token.ThrowIfCancellationRequested();

    public void Dispose() => Array.ForEach(_registrations, registration => registration.Dispose());
}
