using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Boxer.Tests.Hosting;

/// <summary>Keeps the warnings and errors that are logged.</summary>
internal sealed class LogLines : ILogger, ILoggerProvider
{
    public ConcurrentQueue<string> All { get; } = new();

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            All.Enqueue(formatter(state, exception));
        }
    }

    public void Dispose()
    {
        // What was logged stays for the test.
    }
}
