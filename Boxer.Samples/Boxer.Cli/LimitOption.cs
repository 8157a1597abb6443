using System.CommandLine;
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
        double? value = _whole is null ? result.GetValue(_number!) : result.GetValue(_whole);
        if (value is { } number)
        {
            _limit.Set(limits, _limit.FromNumber((decimal)number));
        }
    }
}
