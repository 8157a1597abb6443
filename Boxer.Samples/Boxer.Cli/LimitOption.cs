using System.CommandLine;
using System.Text.Json.Nodes;
using Boxer.Validation;

namespace Boxer.Cli;

/// <summary>The option of one limit in <see cref="SettingTable"/>.</summary>
internal sealed class LimitOption
{
    private readonly Setting _limit;
    private readonly Option<int?>? _whole;
    private readonly Option<double?>? _number;

    internal LimitOption(Setting limit)
    {
        _limit = limit;
        if (limit.IsWhole)
        {
            _whole = new(limit.CliOption!) { Description = limit.Describe() };
        }
        else
        {
            _number = new(limit.CliOption!) { Description = limit.Describe() };
        }
    }

    internal Option Option => (Option?)_whole ?? _number!;

    /// <summary>Sets the limit if the option is given.</summary>
    /// <exception cref="OverflowException">The number is too large for any limit.</exception>
    internal void CopyTo(ResourceLimits limits, ParseResult result)
    {
        if (Value(result) is { } number)
        {
            _limit.Set(limits, _limit.FromNumber((decimal)number));
        }
    }

    /// <summary>Adds the limit to the object <c>limits</c> of an HTTP request if the option is given.</summary>
    internal void CopyTo(JsonObject limits, ParseResult result)
    {
        if (Value(result) is { } number)
        {
            limits[_limit.HttpKey!] = _whole is null ? number : (int)number;
        }
    }

    private double? Value(ParseResult result) => _whole is null ? result.GetValue(_number!) : result.GetValue(_whole);
}
