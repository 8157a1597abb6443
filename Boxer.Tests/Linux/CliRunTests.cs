using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The command line's <c>run</c>, with real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class CliRunTests(PythonImage image)
{
    [Fact]
    public async Task Run_exits_with_the_exit_code_of_the_command()
    {
        image.Require();

        CliResult result = await RunAsync("", "--env", "A=b", "--user", "1000", PythonImage.Name, "--", "python3", "-c", "import os, sys; print(6 * 7, os.environ['A'], os.getuid()); sys.exit(3)");

        Assert.Equal(new CliResult(3, "42 b 1000\n", ""), result);
    }

    [Fact]
    public async Task Run_without_a_command_uses_that_of_the_image()
    {
        image.Require();

        CliResult result = await RunAsync("print(6 * 7)", "-i", PythonImage.Name);

        Assert.Equal(new CliResult(0, "42\n", ""), result);
    }

    [Fact]
    public async Task Run_reads_standard_input_only_for_a_command_that_gets_it()
    {
        image.Require();

        CliResult without = await RunAsync("not read", PythonImage.Name, "--", "wc", "-c");
        CliResult with = await RunAsync("read", "--interactive", PythonImage.Name, "--", "wc", "-c");

        Assert.Equal((new CliResult(0, "0\n", ""), new CliResult(0, "4\n", "")), (without, with));
    }

    [Fact]
    public async Task Run_does_not_read_the_lines_of_a_shell_loop_and_is_not_blocked_by_endless_input()
    {
        image.Require();
        string cli = string.Join(' ', Arguments("").Select(argument => $"'{argument}'").Prepend($"dotnet '{Path.Join(AppContext.BaseDirectory, "boxer.dll")}'"));

        string lines = await HostProgram.RunAsync("sh", "-ec", $"printf '1\n2\n3\n' | while read line; do {cli} {PythonImage.Name} echo $line; done");
        string endless = await HostProgram.RunAsync("sh", "-ec", $"yes | {cli} -i {PythonImage.Name} head -n 1");

        Assert.Equal(("1\n2\n3\n", "y\n"), (lines, endless));
    }

    [Fact]
    public async Task Run_has_a_terminal_of_the_size_of_the_one_at_the_prompt()
    {
        image.Require();
        string cli = string.Join(' ', Arguments("-t", PythonImage.Name, "--").Select(argument => $"'{argument}'").Prepend($"dotnet '{Path.Join(AppContext.BaseDirectory, "boxer.dll")}'"));
        const string Program = "import os, sys; print(sys.stdin.isatty(), sys.stdout.isatty(), os.get_terminal_size(), os.environ['TERM'])";

        string output = await HostProgram.RunAsync("env", "TERM=vt100", "script", "-qec", $"stty cols 90 rows 20; {cli} python3 -c \"{Program}\"; stty -a", "/dev/null");
        CliResult without = await RunAsync("", "-t", PythonImage.Name, "true");

        Assert.Contains("True True os.terminal_size(columns=90, lines=20) vt100", output, StringComparison.Ordinal);
        Assert.Contains(" icanon ", output, StringComparison.Ordinal);
        Assert.Equal(new CliResult(125, "", "-t: standard input is not a terminal.\n"), without);
    }

    [Fact]
    public async Task Run_reports_the_limit_that_ended_the_command()
    {
        image.Require();

        CliResult result = await RunAsync("", "--timeout", "1", PythonImage.Name, "sleep", "60");

        Assert.Equal(137, result.ExitCode);
        Assert.Contains("1 s", result.Stderr, StringComparison.Ordinal);
        Assert.Contains("cpu-time limit of 0.5 s", (await RunAsync("", "--cpu-time", "0.5", PythonImage.Name, "sh", "-c", "while :; do :; done")).Stderr, StringComparison.Ordinal);
        Assert.Contains("is not a network mode", (await RunAsync("", "--network", "open", PythonImage.Name, "true")).Stderr, StringComparison.Ordinal);
    }

    private Task<CliResult> RunAsync(string stdin, params string[] arguments) => CliProcess.RunAsync([.. Arguments(arguments)], stdin: stdin);

    private IEnumerable<string> Arguments(params string[] arguments)
    {
        BoxerOptions options = image.Options();
        return
            ["run", "--home", options.Home, .. options.Registries.SelectMany(registry => registry.Mirrors.SelectMany(url => (string[])["--mirror", $"{registry.Name}={url}"])), .. options.IgnoreCgroups ? (string[])["--ignore-cgroups"] : [], .. arguments.Where(argument => argument.Length > 0)];
    }
}
