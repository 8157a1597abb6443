using Boxer.Fuzz;
using SharpFuzz;

const string Usage = """
    Boxer.Fuzz --instrument ASSEMBLY       makes this copy of Boxer.Core.dll tell AFL where it goes
    Boxer.Fuzz --afl DIRECTORY             runs what AFL gives (see run.sh), in DIRECTORY
    Boxer.Fuzz --replay DIRECTORY FILE...  runs files, in DIRECTORY
    """;

switch (args)
{
    case ["--instrument", string assembly]:
        int types = Fuzzer.Instrument(assembly, type => type.StartsWith("Boxer.Images.", StringComparison.Ordinal), Options.Value).Count();
        Console.WriteLine($"{types} types of {assembly} are instrumented.");
        return types > 0 ? 0 : 1;

    case ["--afl", string directory]:
        LayerTarget? target = null;
        var buffer = new byte[LayerInput.MaxBytes];
        Fuzzer.OutOfProcess.Run(stream =>
        {
            // Created here, because the parent process that only monitors this one does not call this function.
            target ??= new LayerTarget(directory);
            int length = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            // The path of this input must not start where the previous one ended.
            SharpFuzz.Common.Trace.PrevLocation = 0;
            target.Run(buffer.AsSpan(0, length));
        });
        return 0;

    case ["--replay", string directory, _, ..]:
        var replay = new LayerTarget(directory);
        int crashes = 0;
        foreach (string file in args[2..])
        {
            try
            {
                Console.WriteLine($"{file}: {replay.Run(File.ReadAllBytes(file))}");
            }
            catch (Exception crash)
            {
                crashes++;
                await Console.Error.WriteLineAsync($"{file}: {crash}");
            }
        }

        return crashes == 0 ? 0 : 1;

    default:
        await Console.Error.WriteLineAsync(Usage);
        return 2;
}
