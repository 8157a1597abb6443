using System.Globalization;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Every user can build, test and edit uploaded projects in their workspace, in a booted and in a pooled sandbox.</summary>
[LongTests]
[Collection(RealPrograms.Name)]
public sealed class WorkspaceProgramTests(ProgramsImage programs)
{
    [Theory]
    [InlineData("make and git", "65534", 200)]
    [InlineData("make and git", "12345", 20)]
    [InlineData("make and git", "0", 20)]
    [InlineData("pytest", "65534", 0)]
    [InlineData("npm", "65534", 0)]
    [InlineData("npm", "0", 0)]
    [InlineData("cargo", "65534", 0)]
    public async Task A_project_is_built_and_tested_in_its_workspace(string project, string user, int sources)
    {
        (Archive tree, string script, string output) = Make(project, sources);
        SandboxRequest request = ProgramsImage.Shell(script);
        request.User = user;
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(Archive.Gzip(tree.ToBytes())) } };

        (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);

        Assert.Equal((output, output), (cold, pooled));
    }

    private static (Archive Tree, string Script, string Output) Make(string project, int sources) => project switch
    {
        "make and git" => (
            Enumerable.Range(0, sources)
                .Aggregate(new Archive(), (tree, i) => tree.File($"src/f{i}.c", string.Create(CultureInfo.InvariantCulture, $"int f{i}(void) {{ return {i}; }}\n")))
                .File("src/main.c", $"#include <stdio.h>\n{Lines(sources, i => $"int f{i}(void);\n")}int main(void) {{ int sum = 0; {Lines(sources, i => $"sum += f{i}(); ")}printf(\"%d\\n\", sum); return 0; }}\n")
                .File("Makefile", "OBJECTS = $(patsubst %.c,%.o,$(wildcard src/*.c))\nsum: $(OBJECTS)\n\tgcc -o $@ $^\n"),
            """
            make -s -j4
            ./sum
            make -q && echo up to date
            printf '*.o\nsum\n' > .gitignore
            git init -q
            git add .
            git -c user.name=a -c user.email=a@example.com commit -qm first
            sed -i 's/return 7;/return 8;/' src/f7.c
            make -s
            ./sum
            git diff --numstat
            git -c user.name=a -c user.email=a@example.com stash -q
            git status --porcelain
            git ls-files | wc -l
            """,
            string.Create(CultureInfo.InvariantCulture, $"{sources * (sources - 1) / 2}\nup to date\n{(sources * (sources - 1) / 2) + 1}\n1\t1\tsrc/f7.c\n{sources + 3}\n")),
        "pytest" => (
            new Archive().File("package/__init__.py").File("package/code.py", "def square(x):\n    return x * x\n")
                .File("tests/test_code.py", "from package.code import square\n\ndef test_square():\n    assert square(7) == 49\n\ndef test_wrong():\n    assert square(2) == 5\n")
                .File("pyproject.toml", "[tool.pytest.ini_options]\npythonpath = ['.']\n"),
            """
            pytest -q tests | tail -n 1 | sed 's/ in .*//'
            sed -i 's/== 5/== 4/' tests/test_code.py
            pytest -q --last-failed | tail -n 1 | sed 's/ in .*//'
            ls -d .pytest_cache package/__pycache__
            """,
            "1 failed, 1 passed\n1 passed\n.pytest_cache\npackage/__pycache__\n"),
        "npm" => (
            new Archive().File("package.json", """{"name": "app", "version": "1.0.0", "scripts": {"test": "tool"}, "dependencies": {"tool": "file:vendor/tool"}}""")
                .File("vendor/tool/package.json", """{"name": "tool", "version": "1.0.0", "bin": {"tool": "tool.js"}}""")
                .File("vendor/tool/tool.js", "#!/usr/bin/env node\nconsole.log(6 * 7)\n"),
            """
            npm install --silent --no-audit --no-fund
            npm test --silent
            readlink node_modules/.bin/tool
            """,
            "42\n../tool/tool.js\n"),
        "cargo" => (
            new Archive().File("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
                .File("src/main.rs", "fn main() { println!(\"{}\", double(21)); }\nfn double(x: i32) -> i32 { x * 2 }\n#[test]\nfn doubles() { assert_eq!(double(2), 4); }\n"),
            """
            cargo -q run --offline
            cargo -q test --offline | grep -o '1 passed'
            ls Cargo.lock
            """,
            "42\n1 passed\nCargo.lock\n"),
        _ => throw new ArgumentException(project),
    };

    private static string Lines(int count, Func<int, string> line) => string.Concat(Enumerable.Range(0, count).Select(line));
}
