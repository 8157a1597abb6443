namespace Boxer.Runtime.Init;

/// <summary>Violation of the protocol by PID 1. The channel cannot be used any more.</summary>
internal sealed class InitProtocolException : Exception
{
    internal InitProtocolException(string message)
        : base(message)
    {
    }
}
