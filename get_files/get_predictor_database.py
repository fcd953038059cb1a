"""The authors' database of the MobileNetV3 predictor, which is not published."""

import sys

if __name__ == "__main__":
    print(
        "error: the authors publish no database of the MobileNetV3 predictor: their script fetches the predictor's "
        "checkpoint by mistake (their issue 3). Fetch that checkpoint, trained on it, with: "
        "python get_files/get_predictor_checkpoint.py --search-space ofa_mbv3, or build a database with: "
        "python build_database.py --model_name predictor --index 0 --imgnet DIR, then --collect",
        file=sys.stderr,
    )
    sys.exit(2)
