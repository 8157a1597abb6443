using System.Text.RegularExpressions;
using Boxer.Tests.Support;

namespace Boxer.Tests.Repository;

/// <summary>The part of the rules for English in CONTRIBUTING.md that a pattern can check.</summary>
public sealed partial class PlainEnglishTests
{
    private static readonly string[] Extensions = [".cs", ".c", ".h", ".py", ".sh", ".ts"];

    [Fact]
    public void A_comment_begins_with_its_subject()
    {
        string[] wrong = [.. from comment in Comments() where WithoutSubject().IsMatch(comment.Text) select $"{comment.Place} {comment.Text}"];

        Assert.True(wrong.Length == 0, $"{wrong.Length} comments begin without a subject:\n{string.Join('\n', wrong)}");
    }

    [Fact]
    public void A_cancellation_token_says_what_it_cancels()
    {
        string[] wrong = [.. from comment in Comments() where comment.Text.StartsWith("Gives up", StringComparison.Ordinal) select comment.Place];

        Assert.True(wrong.Length == 0, string.Join('\n', wrong));
    }

    [Theory]
    [InlineData("// What waits is kept", true)]
    [InlineData("/// <summary>Whoever asks gets one.</summary>", true)]
    [InlineData("/// <param name=\"x\">Of the sandbox.</param>", true)]
    [InlineData("/// <exception cref=\"IOException\">Whatever the disk says.</exception>", true)]
    [InlineData("// The pool keeps booted sandboxes.", false)]
    [InlineData("// As soon as the command has started, the clock runs.", false)]
    public void The_pattern_finds_comments_without_a_subject(string line, bool isWrong) =>
        Assert.Equal(isWrong, WithoutSubject().IsMatch(TextOf(line, ".cs")!));

    [Theory]
    [InlineData("# What the result depends on", true)]
    [InlineData("    \"\"\"Those of this machine.\"\"\"", true)]
    [InlineData("# The recipe identifies the inputs of the build.", false)]
    public void The_pattern_finds_comments_of_scripts_without_a_subject(string line, bool isWrong) =>
        Assert.Equal(isWrong, WithoutSubject().IsMatch(TextOf(line, ".py")!));

    // Reads the first line of each comment, of each part of an XML doc, and of each docstring.
    private static IEnumerable<(string Place, string Text)> Comments()
    {
        string root = Checkout.Root;
        foreach (string file in Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories))
        {
            string relative = Path.GetRelativePath(root, file);
            if (!Extensions.Contains(Path.GetExtension(file), StringComparer.Ordinal) || Generated().IsMatch(relative))
            {
                continue;
            }

            bool goesOn = false;
            bool opensDoc = false;
            int number = 0;
            foreach (string line in File.ReadLines(file))
            {
                number++;
                string? text = TextOf(line, Path.GetExtension(file));
                bool isDoc = line.TrimStart().StartsWith("///", StringComparison.Ordinal);
                if (text is null && isDoc && opensDoc)
                {
                    text = line.TrimStart()[3..].Trim();
                }

                opensDoc = isDoc && text?.Length == 0;
                if (text is not null && !(goesOn && !isDoc))
                {
                    yield return ($"{relative}:{number}", text);
                }

                goesOn = text is not null && !isDoc;
            }
        }
    }

    private static string? TextOf(string line, string extension)
    {
        Match match = (extension is ".py" or ".sh" ? ScriptComment() : CodeComment()).Match(line);
        return match.Success ? match.Groups["text"].Value.Trim() : null;
    }

    [GeneratedRegex(@"^(What|Who|Whoever|Whatever|Whose|Where|Of|That|Those|As(?! (soon|long|if|well)))\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex WithoutSubject();

    [GeneratedRegex(@"^\s*(///\s*<(summary|remarks|returns|value|param name=""\w+""|typeparam name=""\w+""|exception cref=""[^""]+"")>|//(?!/)|/\*)(?<text>.*)$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex CodeComment();

    [GeneratedRegex(@"^\s*(#(?!!)|"""""")(?<text>.*)$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex ScriptComment();

    [GeneratedRegex(@"(^|/)(bin|obj|artifacts|node_modules|TestResults|\.git)/", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Generated();
}
