using System.Text.Json;
using Boxer.Images;
using Boxer.Validation;

namespace Boxer.AspNetCore.Configuration;

/// <content>Keys of earlier versions: objects with names of registries or images as keys. Lists of objects have replaced them.</content>
internal sealed partial class SettingsBinder
{
    // registry_mirrors, registry_certificates and insecure_registries are replaced by registries.
    private Fields<HostSettings> AddOldRegistries(Fields<HostSettings> root)
    {
        Kind<object> mirrors = KindOf(table.Registries.Single(member => member.Name == nameof(RegistryOptions.Mirrors)));
        return root
            .Add(Old(HostKeys.Mirrors, (reader, settings, value, path) => ReadEntries(reader, value, path, mirrors, (name, places) =>
            {
                RegistryOf(reader, settings, name, $"{path}.{name}").Mirrors = (List<string>)places;
                if (places is List<string> { Count: 0 })
                {
                    reader.Fault($"{path}.{name}", "lists no mirror, so no image of that registry could be pulled; list one or remove the key");
                }
            })))
            .Add(Old(HostKeys.Certificates, (reader, settings, value, path) =>
                ReadEntries(reader, value, path, ReadText, (name, file) => RegistryOf(reader, settings, name, $"{path}.{name}").Certificate = file)))
            .Add(Old(HostKeys.Insecure, (reader, settings, value, path) =>
            {
                foreach ((int i, string name) in (ReadTexts(reader, value, path) ?? []).Index())
                {
                    RegistryOf(reader, settings, name, StrictReader.Item(path, i)).Insecure = true;
                }
            }));

        static Field<HostSettings> Old(string name, Action<StrictReader, HostSettings, JsonElement, string> read) =>
            new(name, read) { Excludes = HostKeys.Registries, Remedy = $"put what it has into {HostKeys.Registries}" };
    }

    private static RegistryOptions RegistryOf(StrictReader reader, HostSettings settings, string name, string path)
    {
        foreach ((_, string message) in SettingChecks.RegistryName(name))
        {
            reader.Fault($"{path}: {message}");
        }

        if (settings.Sandboxes.Registries.FirstOrDefault(registry => registry.Name == name) is not { } found)
        {
            settings.Sandboxes.Registries.Add(found = new() { Name = name });
        }

        return found;
    }

    // Old form of pool: images is an object of counts, and warm_ups an object of commands. A list of images has replaced both.
    private void ReadPool(StrictReader reader, JsonElement value, string path, PoolOptions options)
    {
        Setting images = table.Pool.Single(member => member.Name == nameof(PoolOptions.Images));
        Kind<object> list = KindOf(images);
        Kind<object> count = Kind.Number(table.PoolImages.Single(member => member.Name == nameof(PoolImageOptions.Count)) with { Least = 1 });
        reader.Read(
            value,
            path,
            AddRows(new Fields<PoolOptions>(), table.Pool.Where(member => member != images), pool => pool)
                .Add(new Field<PoolOptions>(images.Key, ReadImages))
                .Add(new Field<PoolOptions>(HostKeys.WarmUps, ReadWarmUps))
                .Sorted(),
            options);
        if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty(HostKeys.WarmUps, out _) && value.TryGetProperty(images.Key, out JsonElement present) && present.ValueKind == JsonValueKind.Array)
        {
            reader.Fault($"{path}.{HostKeys.WarmUps}", $"cannot be combined with a list in {path}.{images.Key}; put each command into warm_up of its image");
        }

        void ReadImages(StrictReader reader, PoolOptions pool, JsonElement value, string path)
        {
            if (value.ValueKind == JsonValueKind.Object)
            {
                ReadEntries(reader, value, path, count, (image, read) => ImageOf(reader, pool, image, $"{path}.{image}").Count = (int)read);
            }
            else if (list(reader, value, path) is { } read)
            {
                images.Set(pool, read);
            }
        }

        static void ReadWarmUps(StrictReader reader, PoolOptions pool, JsonElement value, string path) => ReadEntries<List<string>>(
            reader, value, path, ReadTexts, (image, command) => ImageOf(reader, pool, image, $"{path}.{image}").WarmUp = command, "an object with a command for each image");
    }

    private static PoolImageOptions ImageOf(StrictReader reader, PoolOptions pool, string name, string path)
    {
        if (!ImageReference.TryParse(name, out _))
        {
            reader.Fault(path, "is not the name of an image; write one such as python:3.12-slim");
        }

        if (pool.Images.FirstOrDefault(known => known.Image == name) is not { } found)
        {
            pool.Images.Add(found = new() { Image = name, Count = 0 });
        }

        return found;
    }

    private static void ReadEntries<T>(StrictReader reader, JsonElement value, string path, Kind<T> kind, Action<string, T> set, string words = "an object")
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            reader.Wrong(path, words, value);
            return;
        }

        foreach (JsonProperty entry in value.EnumerateObject())
        {
            if (kind(reader, entry.Value, $"{path}.{entry.Name}") is { } read)
            {
                set(entry.Name, read);
            }
        }
    }
}
