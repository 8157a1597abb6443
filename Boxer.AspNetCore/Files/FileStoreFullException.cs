namespace Boxer.AspNetCore.Files;

/// <summary>The bytes do not fit. Nothing was stored, and what was stored before is unchanged.</summary>
internal sealed class FileStoreFullException : SandboxException
{
    internal FileStoreFullException(string message)
        : base(message, message)
    {
    }
}
