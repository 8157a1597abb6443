using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore;

/// <summary>Validates the options and opens the file store before the application starts.</summary>
internal sealed class BoxerHttpStartupCheck(IOptions<BoxerHttpOptions> options, IServiceProvider services) : StartupCheck
{
    protected override void Check()
    {
        _ = options.Value;
        _ = services.GetRequiredService<ApiKeys>();
        try
        {
            _ = services.GetRequiredService<FileStore>();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or SandboxPrivilegeException)
        {
            throw new OptionsValidationException(
                Options.DefaultName,
                typeof(BoxerHttpOptions),
                [$"{nameof(BoxerHttpOptions.FilesDirectory)}: cannot be used; give each host its own directory, owned by its user. ({exception.Message})"]);
        }
    }
}
