namespace Boxer.Tests.Linux;

public sealed partial class SessionPageTests
{
    /// <summary>The example in C#, as the page has it.</summary>
    /// <param name="output">Gets what the example prints.</param>
    private sealed class Example(TextWriter output)
    {
        private Example Console => this;

        public async Task RunAsync(SandboxRunner sessions, CancellationToken cancellationToken)
        {
            const string Server = """
                import socket

                with socket.create_server(("127.0.0.1", 8000)) as listener:
                    print("listening", flush=True)
                    with listener.accept()[0] as connection:
                        connection.sendall(b"hello from the sandbox\n")
                """;
            SandboxSessionRequest whole = new("python:3.12-slim") { Workspace = new(), Labels = { ["chat"] = "42" } };
            await using (IOwnedSandboxSession box = await sessions.OpenAsync(whole, cancellationToken))
            {
                Console.WriteLine($"{box.State} {box.Labels["chat"]}");
                await box.Files.WriteAsync("server.py", Server, cancellationToken: cancellationToken);
                SandboxResult counted = await box.ExecAsync(new SandboxCommand("wc", "-l").WithStandardInput("a\nb\n"), cancellationToken);
                Console.WriteLine($"{counted.ExitCode} {counted.StandardOutput.Trim()}");

                ISandboxProcess server = await box.StartAsync(new SandboxCommand("python3", "server.py"), cancellationToken);
                await foreach (SandboxProcessEvent item in server.EventsAsync(0, cancellationToken))
                {
                    // It listens.
                    Console.WriteLine(item is SandboxProcessOutput);
                    break;
                }

                await using (SandboxConnection connection = await box.ConnectAsync(8000, cancellationToken))
                {
                    Console.WriteLine(await new StreamReader(connection).ReadLineAsync(cancellationToken));
                }

                Console.WriteLine((await server.WaitAsync(cancellationToken)).Termination);
                await box.PauseAsync(cancellationToken);
                Console.WriteLine(box.State);
                await box.ResumeAsync(cancellationToken);
                await box.ExtendAsync(lifetime: TimeSpan.FromHours(2), cancellationToken: cancellationToken);
                SandboxFileList files = await box.Files.ListAsync(".", cancellationToken: cancellationToken);
                Console.WriteLine($"{box.Lifetime} {string.Join(' ', files.Entries.Select(entry => entry.Path))}");
                await box.CloseAsync(cancellationToken);
                try
                {
                    await box.ExecAsync("ls");
                }
                catch (SandboxSessionEndedException ended)
                {
                    Console.WriteLine(ended.End);
                }
            }
        }

        private void WriteLine(object? value) => output.WriteLine(value);
    }
}
