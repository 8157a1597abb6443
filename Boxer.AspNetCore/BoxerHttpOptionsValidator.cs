using Boxer.AspNetCore.Configuration;
using Boxer.Validation;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore;

/// <summary>Validates <see cref="BoxerHttpOptions"/>. All faults are reported at once, each with the option and the remedy.</summary>
internal sealed class BoxerHttpOptionsValidator : IValidateOptions<BoxerHttpOptions>
{
    public ValidateOptionsResult Validate(string? name, BoxerHttpOptions options)
    {
        List<string> faults = [];
        HashSet<string> keys = new(StringComparer.Ordinal);
        for (int i = 0; i < options.ApiKeys.Count; i++)
        {
            // Keys are secret: messages must not contain them.
            string key = options.ApiKeys[i].Key;
            if (!BoxerApiKey.IsValid(key))
            {
                faults.Add($"ApiKeys[{i}]: must be 1 to {BoxerApiKey.MaxLength} visible ASCII characters without spaces.");
            }
            else if (!keys.Add(key))
            {
                faults.Add($"ApiKeys[{i}]: is listed twice; remove one.");
            }
        }

        for (int i = 0; i < options.HostNames.Count; i++)
        {
            if (!Uri.TryCreate($"http://{options.HostNames[i]}/", UriKind.Absolute, out Uri? url) || url.AbsolutePath != "/" || url.UserInfo.Length > 0)
            {
                faults.Add($"HostNames[{i}]: must be a name that clients use for this host, alone or with a port, such as boxer.example or boxer.example:8080.");
            }
        }

        if (options.FilesDirectory is { } directory && !Path.IsPathFullyQualified(directory))
        {
            faults.Add("FilesDirectory: must be an absolute path.");
        }

        faults.AddRange(SettingTable.BuiltIn.Validate(HostKeys.Http, options, "").Select(fault => $"{fault.Field}: {fault.Message}"));
        if (options.MaxBufferedRequestBytes < 8 * options.MaxRequestBytes && faults.Count == 0)
        {
            faults.Add($"{nameof(options.MaxBufferedRequestBytes)}: must be at least eight times {nameof(options.MaxRequestBytes)}, because one client can have half of it and a byte of a body takes four; raise it.");
        }

        return faults.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(faults);
    }
}
