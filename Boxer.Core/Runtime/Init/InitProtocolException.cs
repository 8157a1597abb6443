namespace Boxer.Runtime.Init;

/// <summary>PID 1 said something that the protocol does not allow. The channel cannot be used any more.</summary>
internal sealed class InitProtocolException : Exception
{
    internal InitProtocolException(string message)
        : base(message)
    {
    }
}
