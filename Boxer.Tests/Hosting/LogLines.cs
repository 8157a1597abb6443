using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Boxer.Tests.Hosting;

/// <summary>Collects logged warnings and errors.</summary>
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
        // The lines stay available to the test.
    }
}
