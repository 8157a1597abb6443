namespace Boxer.AspNetCore.Files;

/// <summary>The file exceeds a limit of its space. Nothing was stored, and stored files are unchanged.</summary>
internal sealed class FileStoreFullException : SandboxException
{
    internal FileStoreFullException(string message)
        : base(message, message)
    {
    }
}
