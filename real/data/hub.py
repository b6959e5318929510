"""The Hugging Face hub: whatever can go wrong with it, said in one line."""

from contextlib import contextmanager

from shared.errors import InputError


@contextmanager
def fetching(what: str):
    """Turns a failure to get `what` (a repository, or a part of one) into an InputError that says the mend."""
    from huggingface_hub import errors

    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except Exception as error:  # whatever a library makes of a file; transformers wraps the hub's in OSError
        if any(words in repr(error) for words in ("MemoryError", "out of memory", "allocate memory")):
            raise
        causes = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        for kind, mend in (
            (errors.GatedRepoError, "is gated: accept its licence on huggingface.co, then set HF_TOKEN"),
            (errors.RepositoryNotFoundError, "is not on the hub, or private: check the name, or set HF_TOKEN"),
            (errors.LocalEntryNotFoundError, "is not in the local cache and the hub cannot be reached"),
            (errors.OfflineModeIsEnabled, "is not in the local cache, and HF_HUB_OFFLINE is set"),
            (errors.EntryNotFoundError, "lacks a file that is needed"),
        ):
            if any(isinstance(cause, kind) for cause in causes):
                raise InputError(f"{what} {mend}") from None
        why = " ".join(str(error).split())[:200]
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise InputError(f"{what} cannot be loaded: {kind}{why}") from None
