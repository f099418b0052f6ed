"""DICOM and NIfTI files, made here, of a patient whose name no output may hold."""

import io

import numpy as np

NAME, ID = SECRETS = ("Qvist^Zelda", "MRN-0042")
DEPTH = 5


def header(values, **tags):
    """Returns a data set of a slice; values are stored as their type is."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = MRImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.PatientName, made.PatientID = NAME, ID
    made.Rows, made.Columns = values.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * values.dtype.itemsize
    made.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(made, name, value)
    made.HighBit = made.BitsStored - 1
    made.PixelData = values.tobytes()
    made["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    return made


def saved(made):
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def head(seed, side=64, depth=DEPTH):
    """Returns a volume whose neighbouring slices are alike, with nothing in its first."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (depth, 4, 4)).astype(np.float64) * 0.02 + rng.integers(0, 255, (4, 4))
    slices = np.kron(small, np.ones((side // 4, side // 4)))
    slices[0] = 0
    return slices.astype(np.uint8)


def write_nifti(path, slices):
    """Writes slices, from the feet, as they are to be shown."""
    import nibabel

    image = nibabel.Nifti1Image(np.ascontiguousarray(slices.transpose(2, 1, 0)[::-1, ::-1]), np.eye(4))
    image.header["descrip"], image.header["intent_name"], image.header["db_name"] = (text.encode() for text in (*SECRETS, NAME))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_dicom(path, slices, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(saved(header(slices, **tags)))
